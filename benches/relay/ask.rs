//! One request and its answer, where time does not matter: setting the stage, learning what is right.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::reading::{Reader, Sink, header};

/// A stream of 50 events, 100 ms apart, takes 5 s; nothing takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Default)]
pub struct Answer {
    pub status: u16,
    /// `x-pointsman-attempts`.
    pub attempts: Option<String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body, if the status is as wanted.
    ///
    /// # Errors
    /// Another status; the error quotes the body.
    pub fn expect(self, status: u16) -> io::Result<Vec<u8>> {
        match self.status == status {
            true => Ok(self.body),
            false => Err(io::Error::other(format!(
                "status {} instead of {status}: {}",
                self.status,
                String::from_utf8_lossy(&self.body[..self.body.len().min(500)])
            ))),
        }
    }
}

impl Sink for Answer {
    fn head(&mut self, head: &httparse::Response<'_, '_>) -> io::Result<()> {
        self.status = head.code.unwrap_or_default();
        self.attempts = header(head, "x-pointsman-attempts").map(str::to_owned);
        Ok(())
    }

    fn body(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.body.extend_from_slice(bytes);
        Ok(())
    }
}

/// Sends these bytes on a connection of its own and reads the answer.
///
/// # Errors
/// No connection, no answer, or none that can be read.
pub fn ask(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(ANSWER_WITHIN))?;
    connection.write_all(request)?;
    let (mut reader, mut answer) = (Reader::default(), Answer::default());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = connection.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if reader.take(&buffer[..read], &mut answer)? {
            return Ok(answer);
        }
    }
}

/// One admin call that must create something; its JSON.
///
/// # Errors
/// As [`ask`], or an answer other than 201.
pub fn create(address: SocketAddr, admin_token: &str, path: &str, body: &Value) -> io::Result<Value> {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {admin_token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let made = ask(address, request.as_bytes())?.expect(201)?;
    serde_json::from_slice(&made).map_err(io::Error::other)
}
