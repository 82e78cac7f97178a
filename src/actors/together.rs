//! Picks that one thread asks for at the same time go to the `CacheActor` together: one message, one answer.
//!
//! A message wakes the actor's thread and its answer wakes the asker's; where both share a processor each of these is a
//! change of threads, which costs more than the pick. So whoever asks first lets the tasks that are ready beside it ask
//! too, and sends what has gathered. Nobody waits for time: where nobody else asks, the pick goes at once.

use std::cell::RefCell;
use std::future::poll_fn;
use std::iter::once;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use actix::{Addr, MailboxError};
use tokio::sync::oneshot;

use super::cache::CacheActor;
use super::messages::{Answer, Pick, Several, Unanswered};

type Picked = Result<Answer, Unanswered>;
type Asked = (Pick, oneshot::Sender<Picked>);

thread_local! {
    /// What gathers on this thread, until whoever began it sends it.
    static GATHERING: RefCell<Option<Arc<Gathering>>> = const { RefCell::new(None) };
}

/// Asks the actor, together with those who ask beside.
pub async fn pick(cache: &Addr<CacheActor>, pick: Pick) -> Result<Picked, MailboxError> {
    if let Some(answer) = join(cache, &pick) {
        return match answer.await {
            Ok(picked) => Ok(picked),
            // Whoever began has gone, and what was picked with it was given back.
            Err(_) => cache.send(pick).await,
        };
    }
    let gathering = Begun::new(cache);
    behind_the_others().await;
    let others = gathering.close();
    if others.is_empty() {
        return cache.send(pick).await;
    }
    let (picks, askers): (Vec<_>, Vec<_>) = others.into_iter().unzip();
    let together = Several(once(pick).chain(picks).collect());
    let mut answers = cache.send(together).await?.into_iter();
    let own = answers.next().unwrap_or(Err(Unanswered::Overloaded));
    for (asker, picked) in askers.into_iter().zip(answers) {
        // A lease for an asker that has gone reports so.
        drop(asker.send(picked));
    }
    Ok(own)
}

/// Asks with those who gather already, if this thread has such.
fn join(cache: &Addr<CacheActor>, pick: &Pick) -> Option<oneshot::Receiver<Picked>> {
    GATHERING.with_borrow(|gathering| {
        let gathering = gathering
            .as_ref()
            .filter(|gathering| gathering.asked_of == *cache)?;
        gathering.add(pick)
    })
}

struct Gathering {
    asked_of: Addr<CacheActor>,
    /// `None`: they are sent, or whoever began has gone.
    asked: Mutex<Option<Vec<Asked>>>,
}

impl Gathering {
    fn add(&self, pick: &Pick) -> Option<oneshot::Receiver<Picked>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (asker, answer) = oneshot::channel();
        asked.as_mut()?.push((pick.clone(), asker));
        Some(answer)
    }

    fn close(&self) -> Vec<Asked> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.take().unwrap_or_default()
    }
}

/// Closes when it is dropped, so that nobody joins whom nobody sends.
struct Begun(Arc<Gathering>);

impl Begun {
    fn new(cache: &Addr<CacheActor>) -> Begun {
        let gathering = Arc::new(Gathering {
            asked_of: cache.clone(),
            asked: Mutex::new(Some(Vec::new())),
        });
        GATHERING.set(Some(Arc::clone(&gathering)));
        Begun(gathering)
    }

    fn close(&self) -> Vec<Asked> {
        self.0.close()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.close();
    }
}

/// Lets this thread's tasks that are ready run first. (Tokio's own way of yielding looks at sockets and timers meanwhile.)
async fn behind_the_others() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
