//! The load: connections that ask over and over, from one thread, and an eye on every answer.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::reading::{Reader, Sink, header};

/// Events arrive 100 ms apart at most; after so long nothing more will come.
const SILENCE_MS: u16 = 30_000;
const EVENTS_AT_ONCE: usize = 256;
/// What a socket gives at once, mostly.
const READ_AT_ONCE: usize = 256 * 1024;

/// What every answer must be, to the byte.
pub struct Wanted {
    pub body: Vec<u8>,
    /// `x-pointsman-attempts`, of an answer that has come by Pointsman.
    pub attempts: Option<&'static str>,
}

/// When it ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// Nothing is asked any more after this time; what is in flight ends.
    Passed(Duration),
    /// Each connection has asked so often.
    Asked(usize),
}

/// What it brought.
#[derive(Default)]
pub struct Brought {
    /// From the first question to the last answer.
    pub took: Duration,
    /// From the question to the body's first byte, one an answer, in ns.
    pub first: Vec<u64>,
    /// From the question to the answer's end, in ns.
    pub whole: Vec<u64>,
}

/// Connections that are open.
pub struct Load<'a> {
    requests: &'a [Vec<u8>],
    wanted: &'a Wanted,
    epoll: Epoll,
    lines: Vec<Line>,
    next: usize,
    buffer: Vec<u8>,
}

/// One connection.
struct Line {
    connection: TcpStream,
    reader: Reader,
    /// Which request it asks, and how far that has been written.
    request: usize,
    written: usize,
    waits_to_write: bool,
    asked_at: Instant,
    /// From the question to the body's first byte.
    first: Option<Duration>,
    /// So much of the body has come and was right.
    right: usize,
    asked: usize,
}

impl<'a> Load<'a> {
    /// Opens the connections; nothing is asked yet.
    ///
    /// # Errors
    /// A connection cannot be had.
    pub fn open(
        address: SocketAddr,
        connections: usize,
        requests: &'a [Vec<u8>],
        wanted: &'a Wanted,
    ) -> io::Result<Load<'a>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut lines = Vec::with_capacity(connections);
        for index in 0..connections {
            let connection = TcpStream::connect(address)?;
            connection.set_nodelay(true)?;
            connection.set_nonblocking(true)?;
            epoll.add(&connection, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
            lines.push(Line {
                connection,
                reader: Reader::default(),
                request: 0,
                written: 0,
                waits_to_write: false,
                asked_at: Instant::now(),
                first: None,
                right: 0,
                asked: 0,
            });
        }
        Ok(Load {
            requests,
            wanted,
            epoll,
            lines,
            next: 0,
            buffer: vec![0; READ_AT_ONCE],
        })
    }

    /// Asks until it is enough, and waits for the last answer. `midway` is called once, when half of that time (or
    /// `lasts`, where no time is given) has passed.
    ///
    /// # Errors
    /// A connection breaks, an answer is not as wanted, or none comes.
    pub fn run(
        &mut self,
        until: Until,
        lasts: Duration,
        mut midway: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Brought> {
        let begun = Instant::now();
        let half = begun
            + match until {
                Until::Passed(time) => time / 2,
                Until::Asked(_) => lasts / 2,
            };
        let mut half = Some(half);
        let mut brought = Brought::default();
        let mut in_flight = self.lines.len();
        for line in &mut self.lines {
            line.asked = 0;
        }
        for index in 0..self.lines.len() {
            self.ask(index)?;
        }
        let mut events = [EpollEvent::empty(); EVENTS_AT_ONCE];
        while in_flight > 0 {
            let count = self.epoll.wait(&mut events, SILENCE_MS)?;
            if count == 0 {
                return Err(broken("no answer"));
            }
            for event in &events[..count] {
                let index = usize::try_from(event.data()).map_err(io::Error::other)?;
                let is_answered = self.tend(index, event.events(), &mut brought)?;
                if !is_answered {
                    continue;
                }
                let goes_on = match until {
                    Until::Passed(time) => begun.elapsed() < time,
                    Until::Asked(times) => self.lines[index].asked < times,
                };
                match goes_on {
                    true => self.ask(index)?,
                    false => in_flight -= 1,
                }
            }
            if half.is_some_and(|half| Instant::now() >= half) {
                half = None;
                midway()?;
            }
        }
        brought.took = begun.elapsed();
        Ok(brought)
    }

    fn ask(&mut self, index: usize) -> io::Result<()> {
        let line = &mut self.lines[index];
        line.request = self.next % self.requests.len();
        self.next += 1;
        (line.written, line.right, line.first) = (0, 0, None);
        line.asked += 1;
        line.asked_at = Instant::now();
        self.write(index)
    }

    fn write(&mut self, index: usize) -> io::Result<()> {
        let line = &mut self.lines[index];
        let request = &self.requests[line.request];
        while line.written < request.len() {
            match line.connection.write(&request[line.written..]) {
                Ok(written) => line.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let waits = line.written < request.len();
        if waits != line.waits_to_write {
            line.waits_to_write = waits;
            let flags = match waits {
                true => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
                false => EpollFlags::EPOLLIN,
            };
            self.epoll
                .modify(&line.connection, &mut EpollEvent::new(flags, index as u64))?;
        }
        Ok(())
    }

    /// Does what a connection is ready for; true if that ends an answer.
    fn tend(&mut self, index: usize, ready: EpollFlags, brought: &mut Brought) -> io::Result<bool> {
        if ready.contains(EpollFlags::EPOLLOUT) {
            self.write(index)?;
        }
        if !ready.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return Ok(false);
        }
        let line = &mut self.lines[index];
        let read = line.connection.read(&mut self.buffer)?;
        if read == 0 {
            return Err(broken("connection closed"));
        }
        let mut check = Check {
            wanted: self.wanted,
            asked_at: line.asked_at,
            first: &mut line.first,
            right: &mut line.right,
        };
        if !line.reader.take(&self.buffer[..read], &mut check)? {
            return Ok(false);
        }
        if line.right != self.wanted.body.len() {
            return Err(broken("answer too short"));
        }
        let whole = line.asked_at.elapsed();
        brought.whole.push(in_ns(whole));
        brought.first.push(in_ns(line.first.unwrap_or(whole)));
        Ok(true)
    }
}

/// Compares an answer with what it must be.
struct Check<'a> {
    wanted: &'a Wanted,
    asked_at: Instant,
    first: &'a mut Option<Duration>,
    right: &'a mut usize,
}

impl Sink for Check<'_> {
    fn head(&mut self, head: &httparse::Response<'_, '_>) -> io::Result<()> {
        if head.code != Some(200) {
            return Err(broken(&format!("status {:?}", head.code)));
        }
        let Some(attempts) = self.wanted.attempts else {
            return Ok(());
        };
        match header(head, "x-pointsman-attempts") {
            Some(told) if told == attempts => Ok(()),
            told => Err(broken(&format!("attempts: {told:?}"))),
        }
    }

    fn body(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.first.is_none() {
            *self.first = Some(self.asked_at.elapsed());
        }
        let end = *self.right + bytes.len();
        if self.wanted.body.get(*self.right..end) != Some(bytes) {
            return Err(broken(&format!(
                "an answer differs from the first one behind byte {}: {}",
                self.right,
                String::from_utf8_lossy(&bytes[..bytes.len().min(300)])
            )));
        }
        *self.right = end;
        Ok(())
    }
}

fn in_ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn broken(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}
