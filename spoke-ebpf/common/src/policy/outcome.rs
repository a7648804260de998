/// What became of a packet and why. Its number indexes `COUNTERS` and stands in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Outcome {
    /// Accepted: its flow is known, or its protocol needs none.
    Accepted = 0,
    /// Accepted, the first of a new flow.
    Opened = 1,
    /// Accepted, the first of a flow that was there before the agent.
    Adopted = 2,
    /// An ICMP error about an accepted flow.
    Related = 3,
    /// ARP, neighbour and router discovery, multicast listeners: never judged.
    Link = 4,
    /// Denied by policy.
    Denied = 8,
    /// Sent from an address that is not the workload's.
    ForeignSource = 9,
    /// Headers cut short, contradictory, or more of them than are followed.
    Malformed = 10,
    /// A later fragment of a datagram whose first is not known, where not every port is accepted.
    Fragment = 11,
    /// Policy accepts the new flow, but the table of tracked flows is full.
    TableFull = 12,
    /// Policy accepts the new flow, but its workload has its share of the table.
    ShareFull = 13,
    /// Neither IPv4, IPv6 nor ARP.
    UnknownProtocol = 14,
    /// The interface is no workload's.
    NoWorkload = 15,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 13] = [
        Self::Accepted,
        Self::Opened,
        Self::Adopted,
        Self::Related,
        Self::Link,
        Self::Denied,
        Self::ForeignSource,
        Self::Malformed,
        Self::Fragment,
        Self::TableFull,
        Self::ShareFull,
        Self::UnknownProtocol,
        Self::NoWorkload,
    ];
    /// Cells of `COUNTERS`: each outcome by direction, then [`Self::SUPPRESSED`] and [`Self::LOST`].
    pub const CELLS: u32 = 34;
    /// Cell that counts events held back by their rate.
    pub const SUPPRESSED: u32 = 32;
    /// Cell that counts events for which the ring buffer had no room.
    pub const LOST: u32 = 33;

    /// Whether the packet is dropped (unless bypassed).
    #[must_use]
    pub const fn is_denied(self) -> bool {
        self as u8 >= Self::Denied as u8
    }

    /// Its cell for a direction.
    #[must_use]
    pub const fn cell(self, direction: u8) -> u32 {
        self as u32 * 2 + direction as u32
    }

    /// The outcome of this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| *outcome as u8 == number)
    }
}
