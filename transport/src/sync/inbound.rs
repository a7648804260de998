//! The reading half of a session: frames into a replica, answers into the outbox.
use axle_core::{
    log::Delta,
    session::{Ack, Effect, Frame, Intake, Receiver},
};
use axle_proto::convert::Wire;

use super::{
    message::SessionMessage,
    outbox::Outbox,
    replica::{Goodbye, Replica},
};

/// Takes the frames of one message and answers once for all of them.
pub(super) async fn take<R: Replica, M: SessionMessage>(
    frames: Vec<Frame>,
    receiver: &mut Receiver,
    replica: &mut R,
    outbox: &Outbox<M>,
) -> Result<(), Goodbye> {
    let mut deltas: Vec<Intake<Delta>> = Vec::new();
    for frame in frames {
        match receiver.receive(frame, &Wire).map_err(Goodbye::because)? {
            Effect::Nothing => {}
            Effect::Apply(delta) => deltas.push(delta),
            Effect::Replace(snapshot) => {
                let (received, mut refused) = (snapshot.taken.at, snapshot.refused.clone());
                refused.extend(replica.replace(snapshot).await?);
                outbox.ack(Ack { received, refused });
            }
            Effect::Head(head) => replica.head(head),
        }
    }
    let Some(received) = deltas.last().map(|delta| delta.taken.to) else { return Ok(()) };
    let mut refused: Vec<_> = deltas.iter().flat_map(|delta| delta.refused.clone()).collect();
    refused.extend(replica.apply(deltas).await?);
    outbox.ack(Ack { received, refused });
    Ok(())
}
