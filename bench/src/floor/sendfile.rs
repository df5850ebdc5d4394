//! The floor of fetching: whole batches of a warm file by sendfile(2).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sys::sendfile::sendfile;
use nix::sys::socket::sockopt::SndBuf;
use nix::sys::socket::{MsgFlags, send, setsockopt};

use crate::batch::BatchTemplate;
use crate::fetch_frame::FetchFrame;
use crate::floor::TOPIC;
use crate::machine::thread_cpu_s;
use crate::stop::Stop;

/// A request of this client is far smaller.
const REQUEST_BYTES_MAX: usize = 4096;
/// Where the correlation id stands in an answer.
const ANSWER_CORRELATION_AT: usize = 4;
/// Batches are gathered into writes of about this size.
const WRITE_BYTES: usize = 4 << 20;

/// A nameless file of record batches whose pages are in the cache and clean.
#[derive(Debug)]
pub(super) struct WarmFile {
    file: File,
    batch_bytes: u64,
    batches: u64,
    records: i64,
}

impl WarmFile {
    pub(super) fn write(
        dir: &Path,
        template: &mut BatchTemplate,
        records_per_batch: u32,
        batches: u64,
        stop: &Stop,
    ) -> io::Result<Self> {
        let mut file = tempfile::tempfile_in(dir)?;
        let mut pending = Vec::with_capacity(WRITE_BYTES + template.bytes().len());
        for number in 0..batches {
            if stop.interrupted() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            template.set_number(number);
            template.set_base_offset(number as i64 * i64::from(records_per_batch));
            pending.extend_from_slice(template.bytes());
            if pending.len() >= WRITE_BYTES {
                file.write_all(&pending)?;
                pending.clear();
            }
        }
        file.write_all(&pending)?;
        // Write-back shall not run beside the measurement.
        file.sync_data()?;
        let records = batches as i64 * i64::from(records_per_batch);
        Ok(Self { file, batch_bytes: template.bytes().len() as u64, batches, records })
    }

    /// Records in the file.
    pub(super) fn records(&self) -> i64 {
        self.records
    }

    /// Size of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.batch_bytes * self.batches
    }

    /// Serves it once over a connection.
    pub(super) fn server(
        &self,
        stream: TcpStream,
        fetch_bytes: u64,
        send_buffer_bytes: Option<usize>,
    ) -> io::Result<Server> {
        if let Some(bytes) = send_buffer_bytes {
            setsockopt(&stream, SndBuf, &bytes)?;
        }
        Ok(Server {
            stream,
            file: self.file.try_clone()?,
            file_bytes: self.bytes(),
            // As a broker does: whole batches, and one at least.
            answer_bytes: (fetch_bytes / self.batch_bytes).max(1) * self.batch_bytes,
        })
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Server {
    stream: TcpStream,
    file: File,
    file_bytes: u64,
    answer_bytes: u64,
}

impl Server {
    /// Until the client closes; returns the processor seconds it took.
    pub(super) fn serve(&mut self) -> io::Result<f64> {
        let mut request = vec![0; REQUEST_BYTES_MAX];
        let mut position = 0;
        loop {
            let mut size = [0; 4];
            match self.stream.read_exact(&mut size) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            let size = u32::from_be_bytes(size) as usize;
            let request = request.get_mut(..size).ok_or(io::ErrorKind::InvalidData)?;
            self.stream.read_exact(request)?;
            let correlation_id = request.get(4..8).ok_or(io::ErrorKind::InvalidData)?;

            let end = (position + self.answer_bytes).min(self.file_bytes);
            let mut head = FetchFrame::encode_answer_head(TOPIC, (end - position) as usize);
            head[ANSWER_CORRELATION_AT..ANSWER_CORRELATION_AT + 4].copy_from_slice(correlation_id);
            self.send_head(&head)?;
            self.send_file(position, end)?;
            position = end;
        }
        Ok(thread_cpu_s())
    }

    fn send_head(&self, mut head: &[u8]) -> io::Result<()> {
        // The library names most flags, but not this one.
        let more = MsgFlags::from_bits_retain(nix::libc::MSG_MORE);
        while !head.is_empty() {
            let sent = send(self.stream.as_raw_fd(), head, more)?;
            head = &head[sent..];
        }
        Ok(())
    }

    fn send_file(&self, start: u64, end: u64) -> io::Result<()> {
        let mut position = start as i64;
        while position < end as i64 {
            let left = (end as i64 - position) as usize;
            if sendfile(&self.stream, &self.file, Some(&mut position), left)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}
