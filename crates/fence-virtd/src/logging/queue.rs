//! The way from whoever logs to the thread that writes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait to be written; what comes beyond them is dropped and counted.
const QUEUE: usize = 1024;

/// How long the end of the program waits for lines to be written.
const FLUSH: Duration = Duration::from_millis(100);

/// The writer's thread needs little.
const STACK: usize = 128 * 1024;

/// Where lines go in the end.
pub(super) trait Sink: Send {
    /// Writes one line as it was queued.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;

    /// Writes a warning of the log's own.
    fn warn(&mut self, text: &str) -> io::Result<()>;
}

pub(super) enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to the writer's thread.
#[derive(Clone)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    pub(super) lost: &'static AtomicU64,
}

impl Queue {
    pub(super) fn start(sink: Box<dyn Sink>) -> io::Result<Self> {
        static LOST: AtomicU64 = AtomicU64::new(0);
        let (sender, receiver) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("log".to_owned())
            .stack_size(STACK)
            .spawn(move || write_lines(&receiver, sink, &LOST))?;
        Ok(Self {
            sender,
            lost: &LOST,
        })
    }

    pub(super) fn put(&self, line: Vec<u8>) {
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn flush(&self) {
        let over = Instant::now() + FLUSH;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.sender.try_send(message) {
            if Instant::now() >= over {
                // Nobody reads, so nobody misses the lines.
                return;
            }
            message = back;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = written.recv_timeout(over.saturating_duration_since(Instant::now()));
    }
}

/// The writer's thread. A line that cannot be written is lost; there is nowhere to say so.
fn write_lines(receiver: &Receiver<Message>, mut sink: Box<dyn Sink>, lost: &AtomicU64) {
    for message in receiver {
        match message {
            Message::Line(line) => {
                let before = lost.swap(0, Ordering::Relaxed);
                if before > 0 {
                    let _ = sink.warn(&format!(
                        "{before} log lines were lost: the log was not read"
                    ));
                }
                let _ = sink.write(&line);
            }
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::text::Stream;

    #[test]
    fn log_that_is_not_read_costs_lines_and_nothing_else() {
        let (reader, writer) = io::pipe().unwrap();
        let queue = Queue::start(Box::new(Stream(writer))).unwrap();
        // Far more than a pipe and the queue hold, with nobody reading.
        for _ in 0..20_000 {
            queue.put(vec![b'x'; 100]);
        }
        // The writer may have begun late and counts anew with each line that it still gets rid of.
        let over = Instant::now() + Duration::from_secs(60);
        while queue.lost.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < over);
            queue.put(vec![b'x'; 100]);
        }
        queue.flush();
        drop(reader);
        queue.put(b"into a closed pipe\n".to_vec());
        queue.flush();
    }
}
