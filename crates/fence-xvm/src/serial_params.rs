//! Speed and framing of a serial device, as `serial_params` says them: `115200,8N1`.

use core::fmt;
use core::str::FromStr;

/// What `serial_params` may say, for messages.
pub const ALLOWED: &str = "a speed, or speed, data bits, parity and stop bits, such as 115200 or \
                           115200,8N1; speeds are 300, 600, 1200, 2400, 4800, 9600, 19200, 38400, \
                           57600, 115200, 230400, 460800 and 921600";

/// The speeds that devices have, in bits per second.
pub const SPEEDS: [u32; 13] = [
    300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600,
];

/// Speed and framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialParams {
    /// One of [`SPEEDS`].
    pub speed: u32,
    /// 5 to 8. The frames need all of 8 on a real line; emulated devices do not care.
    pub data_bits: u8,
    /// The parity bit, if there is one.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
}

/// What is done for parity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are words of the trade")]
pub enum Parity {
    None,
    Odd,
    Even,
}

impl Default for SerialParams {
    fn default() -> Self {
        Self {
            speed: 115_200,
            data_bits: 8,
            parity: Parity::None,
            stop_bits: 1,
        }
    }
}

/// Text that says no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {ALLOWED}")]
pub struct NotSerialParams;

impl FromStr for SerialParams {
    type Err = NotSerialParams;

    fn from_str(text: &str) -> Result<Self, NotSerialParams> {
        let (speed, framing) = text.split_once(',').unwrap_or((text, "8N1"));
        let speed = SPEEDS
            .into_iter()
            .find(|known| known.to_string() == speed)
            .ok_or(NotSerialParams)?;
        let [data @ b'5'..=b'8', parity, stop @ (b'1' | b'2')] = framing.as_bytes() else {
            return Err(NotSerialParams);
        };
        Ok(Self {
            speed,
            data_bits: data.saturating_sub(b'0'),
            parity: match parity.to_ascii_uppercase() {
                b'N' => Parity::None,
                b'O' => Parity::Odd,
                b'E' => Parity::Even,
                _ => return Err(NotSerialParams),
            },
            stop_bits: stop.saturating_sub(b'0'),
        })
    }
}

impl fmt::Display for SerialParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            speed,
            data_bits,
            stop_bits,
            ..
        } = self;
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Odd => 'O',
            Parity::Even => 'E',
        };
        write!(f, "{speed},{data_bits}{parity}{stop_bits}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_original_are_understood() {
        let parse = |text: &str| text.parse::<SerialParams>();
        assert_eq!(parse("115200,8N1"), Ok(SerialParams::default()));
        assert_eq!(parse("115200"), Ok(SerialParams::default()));
        let odd = parse("9600,7o2").unwrap();
        assert_eq!(odd.to_string(), "9600,7O2");
        assert_eq!(odd.parity, Parity::Odd);
        assert_eq!(parse("9600,5E1").unwrap().data_bits, 5);
        for speed in SPEEDS {
            assert_eq!(parse(&speed.to_string()).unwrap().speed, speed);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "0",
            "fast",
            "115201",
            "0115200",
            " 115200",
            "115200:8N1",
            "115200,",
            "115200,8",
            "115200,9N1",
            "115200,4N1",
            "115200,8X1",
            "115200,8N0",
            "115200,8N3",
            "115200,8N1x",
            "115200,8N1,",
        ] {
            assert_eq!(text.parse::<SerialParams>(), Err(NotSerialParams), "{text}");
        }
    }
}
