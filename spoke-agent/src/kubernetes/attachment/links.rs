//! What the kernel says of this network namespace's links to others.
use std::{collections::BTreeMap, io};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// How this namespace numbers another one.
type Namespace = i32;

/// Asks about the network namespace of the thread that opened it.
pub(super) struct Links(Socket);

impl Links {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// The name of our end of the veth into each namespace that one leads to. Of several it is the one that came first
    /// there: a pod's first interface is on the cluster's network.
    pub(super) fn veths(&self) -> io::Result<BTreeMap<Namespace, String>> {
        let mut first: BTreeMap<Namespace, (u32, String)> = BTreeMap::new();
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]));
        for answer in self.ask(RouteNetlinkMessage::GetLink(question), NLM_F_DUMP)? {
            let RouteNetlinkMessage::NewLink(link) = answer else { continue };
            let Some((namespace, other)) = veth(&link) else { continue };
            if first.get(&namespace).is_none_or(|held| other.0 < held.0) {
                first.insert(namespace, other);
            }
        }
        Ok(first.into_iter().map(|(namespace, (_, name))| (namespace, name)).collect())
    }

    /// The number of the namespace that a process is in; `None` for this one, one that no link leads to, and the process
    /// that has ended.
    pub(super) fn namespace_of(&self, process: u32) -> io::Result<Option<Namespace>> {
        let mut question = NsidMessage::default();
        question.attributes.push(NsidAttribute::Pid(process));
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

/// Where a veth leads to, its index there, and its name here.
fn veth(link: &LinkMessage) -> Option<(Namespace, (u32, String))> {
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
    is_veth.then_some((namespace?, (index?, name?)))
}
