//! What the kernel says of this network namespace's links to others.
use std::{collections::BTreeMap, fs::File, io, net::IpAddr, os::fd::AsRawFd as _};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage, AddressScope},
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// How this namespace numbers another one.
pub(super) type Namespace = i32;

/// Our end of a veth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Veth {
    pub(super) name: String,
    /// Of the other end, where that is.
    index: u32,
}

/// Asks about the network namespace of the thread that opened it.
pub(super) struct Links(Socket);

impl Links {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        // Else the kernel overlooks which namespace is asked about.
        socket.set_netlink_get_strict_chk(true)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Our end of the veth into each namespace that one leads to. Of several it is the one that came first there: a pod's
    /// first interface is on the cluster's network.
    pub(super) fn veths(&self) -> io::Result<BTreeMap<Namespace, Veth>> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]));
        let mut first: BTreeMap<Namespace, Veth> = BTreeMap::new();
        for answer in self.ask(RouteNetlinkMessage::GetLink(question), NLM_F_DUMP)? {
            let RouteNetlinkMessage::NewLink(link) = answer else { continue };
            let Some((namespace, veth)) = veth(&link) else { continue };
            if first.get(&namespace).is_none_or(|held| veth.index < held.index) {
                first.insert(namespace, veth);
            }
        }
        Ok(first)
    }

    /// The addresses at the other end of `veth`, without those of the link alone.
    pub(super) fn addresses(&self, namespace: Namespace, veth: &Veth) -> io::Result<Vec<IpAddr>> {
        let mut question = AddressMessage::default();
        question.header.index = veth.index;
        question.attributes.push(AddressAttribute::TargetNetNsId(namespace));
        let answers = self.ask(RouteNetlinkMessage::GetAddress(question), NLM_F_DUMP)?;
        let is_ours =
            |found: &AddressMessage| found.header.index == veth.index && found.header.scope == AddressScope::Universe;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(found) if is_ours(&found) => {
                    found.attributes.into_iter().find_map(|attribute| match attribute {
                        AddressAttribute::Address(address) => Some(address),
                        _ => None,
                    })
                }
                _ => None,
            })
            .collect())
    }

    /// The number of the namespace that a process is in; `None` for this one, one that no link leads to, and the process
    /// that has ended.
    pub(super) fn namespace_of(&self, process: u32) -> io::Result<Option<Namespace>> {
        self.number(NsidAttribute::Pid(process))
    }

    /// The number of the namespace whose file this is.
    pub(super) fn namespace_at(&self, file: &File) -> io::Result<Option<Namespace>> {
        self.number(NsidAttribute::Fd(u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?))
    }

    fn number(&self, of: NsidAttribute) -> io::Result<Option<Namespace>> {
        let mut question = NsidMessage::default();
        question.attributes.push(of);
        let answers = match self.ask(RouteNetlinkMessage::GetNsId(question), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            answers => answers?,
        };
        Ok(answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewNsId(named) => named.attributes.into_iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(number) => Some(number).filter(|number| *number >= 0),
                _ => None,
            }),
            _ => None,
        }))
    }

    /// One question with all its answers; a list that changed while it was told is asked for again.
    fn ask(&self, question: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(question));
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        loop {
            self.0.send(&bytes, 0)?;
            if let Some(answers) = self.answers(flags & NLM_F_DUMP != 0)? {
                return Ok(answers);
            }
        }
    }

    fn answers(&self, is_list: bool) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        let (mut answers, mut whole) = (Vec::new(), true);
        loop {
            let (received, _) = self.0.recv_from_full()?;
            let mut rest = &received[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
                whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                // Messages begin at multiples of four bytes.
                rest = rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or_default();
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::Done(_) => return Ok(whole.then_some(answers)),
                    _ => {}
                }
            }
            if !is_list {
                return Ok(Some(answers));
            }
        }
    }
}

/// Where a veth leads to.
fn veth(link: &LinkMessage) -> Option<(Namespace, Veth)> {
    let (mut is_veth, mut namespace, mut index, mut name) = (false, None, None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::LinkInfo(infos) => is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth)),
            LinkAttribute::LinkNetNsId(number) => namespace = Some(*number),
            LinkAttribute::Link(number) => index = Some(*number),
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            _ => {}
        }
    }
    is_veth.then_some((namespace?, Veth { name: name?, index: index? }))
}
