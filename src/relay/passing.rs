//! The answer's way to the client: watched, so that an upstream ends when its client goes, and told of at its end.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::unfold;

use super::answer::{Aborted, Answer, Body, Chunks};
use super::client_gone::ClientGone;
use super::record::{End, Record};

/// The answer, whose end is told to `record`.
pub fn watched(mut answer: Answer, gone: ClientGone, mut record: Record) -> Answer {
    record.answered(answer.status);
    answer.body = match answer.body {
        Body::Whole(bytes) => {
            record.ended(End::Complete);
            Body::Whole(bytes)
        }
        Body::Passing { length, chunks } => Body::Passing {
            length,
            chunks: watch(chunks, gone, record),
        },
    };
    answer
}

struct Watched {
    chunks: Chunks,
    gone: ClientGone,
    record: Record,
}

fn watch(chunks: Chunks, gone: ClientGone, record: Record) -> Chunks {
    let watched = Watched { chunks, gone, record };
    unfold(Some(watched), async |watched| watched?.step().await).boxed_local()
}

impl Watched {
    /// The last step drops the upstream, and with it its connection.
    async fn step(mut self) -> Option<(Result<Bytes, Aborted>, Option<Self>)> {
        let next = tokio::select! {
            biased;
            next = self.chunks.next() => next,
            () = self.gone.wait() => return Some((Err(Aborted), None)),
        };
        match next {
            Some(Ok(chunk)) => Some((Ok(chunk), Some(self))),
            Some(Err(Aborted)) => {
                self.record.ended(End::Cut);
                Some((Err(Aborted), None))
            }
            None => {
                self.record.ended(End::Complete);
                None
            }
        }
    }
}
