//! Having a program judge packets, each of another endpoint, in one run of the kernel's.
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, MapError, ProgramArray},
    programs::{ProgramFd, SchedClassifier, TestRun as _, TestRunOptions},
};

static VARY: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/axle-bench-vary"));

/// What a program returns for a packet that is dropped.
const TCX_DROP: u32 = 2;

/// A program with its tables.
pub(super) trait Judge {
    /// Makes it accept `rules` classes of endpoints, see [`super::world`].
    fn set_rules(&mut self, rules: u32) -> anyhow::Result<()>;
    /// The program as it is now.
    fn program(&self) -> anyhow::Result<&ProgramFd>;
    /// Whether it looks at packets at all.
    fn judges(&self) -> bool;
}

/// A program and, before it, one that gives it the packets.
///
/// The packets of one run are one buffer: the program before overwrites its source address and passes it on by a tail
/// call. So a run of many packets costs no system call and no copy of each.
pub(super) struct Side {
    judge: Box<dyn Judge>,
    vary: Ebpf,
    next: ProgramArray<MapData>,
    draw: Array<MapData, [u32; 2]>,
}

impl Side {
    pub(super) fn new(judge: impl Judge + 'static) -> anyhow::Result<Self> {
        let mut vary = EbpfLoader::new().load(VARY)?;
        find(&mut vary, "axle_vary")?.load()?;
        let next = take(&mut vary, "NEXT")?;
        let draw = take(&mut vary, "DRAW")?;
        let mut side = Self { judge: Box::new(judge), vary, next, draw };
        side.next.set(0, side.judge.program()?, 0)?;
        Ok(side)
    }

    /// See [`Judge::set_rules`].
    pub(super) fn set_rules(&mut self, rules: u32) -> anyhow::Result<()> {
        self.judge.set_rules(rules)?;
        Ok(self.next.set(0, self.judge.program()?, 0)?)
    }

    /// How long one packet takes, on average over `packets` that come from `endpoints` (a power of two) in turn, in an
    /// order that no cache foresees. `accepts` is the verdict that has to come out.
    pub(super) fn judge(
        &mut self,
        packet: &[u8],
        endpoints: u32,
        packets: u32,
        accepts: bool,
    ) -> anyhow::Result<Duration> {
        self.draw.set(0, &[0, endpoints - 1], 0)?;
        let options = TestRunOptions { data_in: Some(packet), repeat: packets, ..TestRunOptions::default() };
        let run = find(&mut self.vary, "axle_vary")?.test_run(options)?;
        let accepted = run.return_value != TCX_DROP;
        ensure!(accepted == (accepts || !self.judge.judges()), "the verdict is {accepted}, wanted {accepts}");
        Ok(run.duration)
    }
}

/// Takes a map; the programs keep it.
pub(super) fn take<M: TryFrom<Map, Error = MapError>>(object: &mut Ebpf, name: &str) -> anyhow::Result<M> {
    let map = object.take_map(name).with_context(|| format!("the object has no map {name}"))?;
    Ok(M::try_from(map)?)
}

pub(super) fn find<'o>(object: &'o mut Ebpf, program: &str) -> anyhow::Result<&'o mut SchedClassifier> {
    let program = object.program_mut(program).with_context(|| format!("the object has no program {program}"))?;
    Ok(program.try_into()?)
}
