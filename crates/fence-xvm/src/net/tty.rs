//! The serial device: opening it, locking it, its modes and modem lines.

use core::time::Duration;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::termios::{
    BaudRate, ControlFlags, FlushArg, InputFlags, LocalFlags, OutputFlags, SetArg, Termios,
    cfmakeraw, tcflush, tcgetattr, tcsetattr,
};

use super::clock::Clock;
use super::{NetError, remaining};
use crate::console::Console;
use crate::serial_params::{Parity, SerialParams};

/// How long DTR is down before a request, as with the original. Devices without modem lines do not
/// mind.
pub(super) const DTR_DOWN: Duration = Duration::from_millis(300);

/// Between two tries for a device in use.
const RETRY: Duration = Duration::from_millis(50);

/// A device that is ours alone and raw. Its modem lines are down until [`Self::raise`].
#[derive(Debug)]
pub(super) struct Tty {
    /// The lock ends when *any* descriptor of this file is closed, so there is only this one.
    device: File,
    modes: Termios,
}

impl Tty {
    /// Opens the device. Two agents on one line would read each other's responses, so it is locked,
    /// in the original's way. A lock that somebody else holds is waited for.
    pub(super) fn open(
        path: &Path,
        params: SerialParams,
        (clock, timeout): (Clock, Duration),
        console: Console,
    ) -> Result<Self, NetError> {
        let mut told = false;
        let device = loop {
            let holder = match open_and_lock(path) {
                Ok(Opened::Ours(device)) => break device,
                Ok(Opened::InUse(holder)) => holder,
                Err(error) => return Err(unusable(path, error)),
            };
            if remaining(clock, timeout).is_zero() {
                let device = path.to_owned();
                return Err(NetError::DeviceBusy { device, holder });
            }
            if !told {
                told = true;
                let path = path.display();
                console.debug(1, format_args!("{path} is in use by {holder}, waiting"));
            }
            thread::sleep(RETRY);
        };
        prepare(device, params).map_err(|error| unusable(path, error.into()))
    }

    /// Puts the modem lines up, and throws away what has come until now.
    pub(super) fn raise(&self) -> io::Result<()> {
        tcsetattr(&self.device, SetArg::TCSANOW, &self.modes)?;
        tcflush(&self.device, FlushArg::TCIFLUSH)?;
        Ok(())
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        // The next program shall not find it at speed 0.
        let _ = tcsetattr(&self.device, SetArg::TCSANOW, &self.modes);
        // Or closing the device waits for the host to take what was not sent, for 30 s.
        let _ = tcflush(&self.device, FlushArg::TCIOFLUSH);
    }
}

impl Read for Tty {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.device.read(buffer)
    }
}

impl Write for Tty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.device.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Tty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// Whether the device can be one at all; it is not opened.
///
/// # Errors
/// [`NetError::Device`].
pub fn check_device(path: &Path) -> Result<(), NetError> {
    let device = std::fs::metadata(path).and_then(|metadata| {
        let special = metadata.file_type().is_char_device();
        special.then_some(()).ok_or(Errno::ENOTTY.into())
    });
    device.map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, source: io::Error) -> NetError {
    NetError::Device {
        device: path.to_owned(),
        cure: match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) => {
                "give the VM a serial port, name another device with -D, or none to use the VM channel"
            }
            Some(Errno::EACCES | Errno::EPERM) => "run this as root, or as a user who may use it",
            Some(Errno::EIO | Errno::ENXIO | Errno::ENODEV) => {
                "there is no serial port behind it, name another device with -D"
            }
            _ => "name a serial device with -D",
        },
        source,
    }
}

enum Opened {
    Ours(File),
    /// Somebody has it, as far as the kernel says who.
    InUse(String),
}

fn open_and_lock(path: &Path) -> io::Result<Opened> {
    // Not to wait for a carrier, nor to be hung up with one's terminal.
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path);
    let device = match opened {
        // Somebody has claimed it by TIOCEXCL.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            return Ok(Opened::InUse("another program".to_owned()));
        }
        opened => opened?,
    };
    match fcntl(&device, FcntlArg::F_SETLK(&write_lock())) {
        Ok(_) => return Ok(Opened::Ours(device)),
        Err(Errno::EAGAIN | Errno::EACCES) => {}
        Err(error) => return Err(error.into()),
    }
    let mut lock = write_lock();
    let asked = fcntl(&device, FcntlArg::F_GETLK(&mut lock));
    let holder = match asked {
        Ok(_) if lock.l_pid > 0 => format!("process {}", lock.l_pid),
        _ => "another program".to_owned(),
    };
    Ok(Opened::InUse(holder))
}

/// The whole file, for writing.
const fn write_lock() -> libc::flock {
    libc::flock {
        l_type: F_WRLCK,
        l_whence: SEEK_SET,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "constants that fit")]
const F_WRLCK: libc::c_short = libc::F_WRLCK as libc::c_short;
#[expect(clippy::cast_possible_truncation, reason = "constants that fit")]
const SEEK_SET: libc::c_short = libc::SEEK_SET as libc::c_short;

fn prepare(device: File, params: SerialParams) -> nix::Result<Tty> {
    let mut modes = tcgetattr(&device)?;
    make_raw(&mut modes, params);
    // Speed 0 puts the modem lines down (termios(3)).
    set_speed(&mut modes, BaudRate::B0);
    tcsetattr(&device, SetArg::TCSANOW, &modes)?;
    tcflush(&device, FlushArg::TCIOFLUSH)?;
    set_speed(&mut modes, speed(params));
    Ok(Tty { device, modes })
}

/// Where Linux has the speed. The C library's function for it cannot be linked statically: the `libc`
/// crate asks for one version of it by name, and a static C library has no versions.
fn set_speed(modes: &mut Termios, speed: BaudRate) {
    let bits = ControlFlags::from_bits_retain(speed as libc::speed_t);
    modes.control_flags.remove(ControlFlags::CBAUD);
    modes.control_flags.insert(bits);
}

/// As the original: raw, without modem control, with flow control by RTS and CTS.
fn make_raw(modes: &mut Termios, params: SerialParams) {
    cfmakeraw(modes);
    modes.local_flags = LocalFlags::empty();
    modes.input_flags = InputFlags::empty();
    modes.output_flags = OutputFlags::empty();
    let flags = &mut modes.control_flags;
    flags.remove(
        ControlFlags::CSIZE
            | ControlFlags::PARENB
            | ControlFlags::PARODD
            | ControlFlags::CSTOPB
            | ControlFlags::HUPCL,
    );
    flags.insert(ControlFlags::CREAD | ControlFlags::CLOCAL | ControlFlags::CRTSCTS);
    flags.insert(match params.data_bits {
        5 => ControlFlags::CS5,
        6 => ControlFlags::CS6,
        7 => ControlFlags::CS7,
        _ => ControlFlags::CS8,
    });
    flags.insert(match params.parity {
        Parity::None => ControlFlags::empty(),
        Parity::Even => ControlFlags::PARENB,
        Parity::Odd => ControlFlags::PARENB | ControlFlags::PARODD,
    });
    flags.set(ControlFlags::CSTOPB, params.stop_bits == 2);
}

const fn speed(params: SerialParams) -> BaudRate {
    match params.speed {
        300 => BaudRate::B300,
        600 => BaudRate::B600,
        1200 => BaudRate::B1200,
        2400 => BaudRate::B2400,
        4800 => BaudRate::B4800,
        9600 => BaudRate::B9600,
        19_200 => BaudRate::B19200,
        38_400 => BaudRate::B38400,
        57_600 => BaudRate::B57600,
        230_400 => BaudRate::B230400,
        460_800 => BaudRate::B460800,
        921_600 => BaudRate::B921600,
        _ => BaudRate::B115200,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial_params::SPEEDS;

    #[test]
    fn every_speed_is_its_own() {
        let speeds = SPEEDS.map(|number| {
            let params = SerialParams {
                speed: number,
                ..SerialParams::default()
            };
            format!("{:?}", speed(params))
        });
        assert_eq!(speeds, SPEEDS.map(|number| format!("B{number}")));
    }

    #[test]
    fn what_can_be_no_serial_device_is_said_with_the_cure() {
        let error = |path: &str| check_device(Path::new(path)).unwrap_err().to_string();
        assert!(error("/nonexistent/tty").contains("-D"));
        assert!(error("/nonexistent/tty").contains("/nonexistent/tty: No such file"));
        assert!(error("/").contains("/: Inappropriate ioctl"));
        assert!(check_device(Path::new("/dev/null")).is_ok());
    }
}
