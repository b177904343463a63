//! What a session is subscribed to, as clients come and go.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use nexios_protocol::escaped;
use tokio::time::{Instant, timeout_at};

use crate::engines::link::{BrokerSession, LinkError};
use crate::node::driver::{Driver, answered};
use crate::node::incoming::Event;
use crate::node::subscriptions::Changes;
use crate::topic::Topic;

/// From one time that a broker is asked for what it has refused to the next, at first and later. Each time those who are
/// there by then are told that they miss messages.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(1500);
const ASK_AGAIN_EVERY: Duration = Duration::from_secs(30);

impl Driver {
    /// Subscribes and unsubscribes as clients come and go, and from time to time to what was refused.
    pub(super) async fn follow(
        &self,
        session: &dyn BrokerSession,
        refused: Vec<Topic>,
    ) -> Result<Infallible, LinkError> {
        let mut refused: HashSet<Topic> = refused.into_iter().collect();
        let mut again = Instant::now() + ASK_AGAIN_AFTER;
        loop {
            let changes = match refused.is_empty() {
                true => Ok(self.node.subscriptions.changes().await),
                false => timeout_at(again, self.node.subscriptions.changes()).await,
            };
            let is_again = changes.is_err();
            let Changes { unsubscribe, subscribe } = changes.unwrap_or_else(|_| {
                again = Instant::now() + ASK_AGAIN_EVERY;
                Changes { subscribe: refused.drain().collect(), ..Changes::default() }
            });
            if !unsubscribe.is_empty() {
                answered(session.unsubscribe(&unsubscribe)).await?;
            }
            self.node.incoming.tell(Event::Subscribed(subscribe.clone())).await;
            let (late, no) = self.subscribe(session, &subscribe).await?;
            if !(is_again || no.is_empty()) {
                again = again.min(Instant::now() + ASK_AGAIN_AFTER);
            }
            refused.extend(no);
            self.node.incoming.tell(Event::Live { topics: subscribe, late }).await;
        }
    }

    /// Subscribes to topics; returns those whose clients miss messages, since somebody has waited in vain or the broker
    /// has refused the topic, and those that it has refused.
    pub(super) async fn subscribe(
        &self,
        session: &dyn BrokerSession,
        topics: &[Topic],
    ) -> Result<(Vec<Topic>, Vec<Topic>), LinkError> {
        let channels = self.node.subscriptions.channels(topics);
        if channels.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        match answered(session.subscribe(&channels)).await {
            Ok(()) => Ok((self.node.subscriptions.live(topics), Vec::new())),
            Err(LinkError::Refused(_)) => self.subscribe_each(session, topics).await,
            Err(error) => Err(error),
        }
    }

    /// Subscribes to one topic after another, so that one that is refused takes no other along.
    async fn subscribe_each(
        &self,
        session: &dyn BrokerSession,
        topics: &[Topic],
    ) -> Result<(Vec<Topic>, Vec<Topic>), LinkError> {
        let (mut live, mut refused, mut why) = (Vec::new(), Vec::new(), None);
        for topic in topics {
            let channels = self.node.subscriptions.channels(std::slice::from_ref(topic));
            match answered(session.subscribe(&channels)).await {
                Ok(()) => live.push(topic.clone()),
                Err(LinkError::Refused(reason)) => {
                    why.get_or_insert(reason);
                    refused.push(topic.clone());
                }
                Err(error) => return Err(error),
            }
        }
        let (first, reason) = (refused.first().map(Topic::to_string), why.unwrap_or_default());
        if self.complaints.borrow_mut().is_due(reason.clone()) {
            tracing::error!(
                topic = %escaped(&first.unwrap_or_default()), topics = refused.len(), reason = %escaped(&reason),
                "the broker refuses subscriptions: clients here miss what other nodes send; it is asked again"
            );
        }
        let mut late = self.node.subscriptions.live(&live);
        late.extend(refused.iter().cloned());
        Ok((late, refused))
    }
}
