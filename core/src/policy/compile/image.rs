//! What the tables hold, as far as the compiler wrote it: kept by carrying out its own writes.
use std::collections::{BTreeSet, btree_set};

use hashbrown::HashMap;

use super::{draft::Deeds, portset::Bits};
use crate::policy::tables::{
    BLOCK_ACCEPT, BLOCK_CLASSES, BLOCK_DENY, Block, Class, Limits, ROW_ACCEPT, ROW_DENY, Row, SLOT_BLOCKS, Slot,
};

/// A cell that the tables hold something in which no longer matters: nothing looks at it until it is written again.
pub(super) const DEAD: Row = Row::MAX;

/// The cells of a block.
pub(super) type Cells = [Row; BLOCK_CLASSES as usize];

/// Numbers given out from a bounded range, lowest first.
#[derive(Debug)]
pub(super) struct Numbers {
    free: BTreeSet<u32>,
    next: u32,
    limit: u32,
    most: u32,
}

/// Numbers not given out yet.
pub(super) type Available<'n> = std::iter::Chain<std::iter::Copied<btree_set::Iter<'n, u32>>, std::ops::Range<u32>>;

impl Numbers {
    pub(super) fn new(first: u32, limit: u32) -> Self {
        Self { free: BTreeSet::new(), next: first, limit, most: first }
    }

    /// The numbers that can be given out, lowest first.
    pub(super) fn available(&self) -> Available<'_> {
        self.free.iter().copied().chain(self.next..self.limit)
    }

    /// How many are given out (the constants below the first included).
    pub(super) fn taken(&self) -> u32 {
        self.next - self.free.len() as u32
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Gives one out.
    pub(super) fn take(&mut self, number: u32) {
        if number >= self.next {
            self.free.extend(self.next..number);
            self.next = number + 1;
        } else {
            self.free.remove(&number);
        }
        self.most = self.most.max(self.taken());
    }

    /// How many were given out at once since this was asked last.
    pub(super) fn most(&mut self) -> u32 {
        let taken = self.taken();
        std::mem::replace(&mut self.most, taken)
    }

    /// Takes one back.
    pub(super) fn give(&mut self, number: u32) {
        self.free.insert(number);
    }
}

/// A block of the tables.
#[derive(Debug, Clone)]
pub(super) struct BlockState {
    /// Which 256 classes it is for.
    pub(super) index: u8,
    pub(super) cells: Box<Cells>,
    /// What its slots say of an address that they know nothing about: also the cells of classes to come.
    base: Row,
    /// How many slots use it.
    needs: u32,
    /// Follows from the cells that are not dead.
    pub(super) hash: u64,
}

/// A slot of the tables.
#[derive(Debug, Clone)]
struct SlotState {
    blocks: [Block; SLOT_BLOCKS],
    /// Its row for an address of which it knows nothing.
    base: Row,
}

impl SlotState {
    fn of(block: Block, base: Row) -> Self {
        Self { blocks: [block; SLOT_BLOCKS], base }
    }
}

/// A block to come.
#[derive(Debug)]
pub(super) struct NewBlock {
    pub(super) index: u8,
    pub(super) base: Row,
    pub(super) cells: Box<Cells>,
    pub(super) hash: u64,
}

impl BlockState {
    /// How many slots use it.
    pub(super) fn users(&self) -> usize {
        self.needs as usize
    }
}

/// Rows, blocks and slots.
#[derive(Debug)]
pub(super) struct Image {
    rows: Vec<(Bits, u32)>,
    pub(super) row_ids: Numbers,
    /// The port classes that exist: the other bits of a row mean nothing.
    live: Bits,
    by_bits: HashMap<Bits, Row>,
    blocks: Vec<BlockState>,
    pub(super) block_ids: Numbers,
    of_index: Vec<BTreeSet<Block>>,
    by_content: HashMap<(u8, u64), Block>,
    slots: Vec<SlotState>,
    pub(super) slot_ids: Numbers,
}

/// The part of a block's hash that one cell makes.
pub(super) fn cell_hash(index: usize, row: Row) -> u64 {
    if row == DEAD {
        return 0;
    }
    finalise((index as u64) << 32 | u64::from(row))
}

/// The finaliser of splitmix64: any change of one bit changes half of the others.
pub(super) fn finalise(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The hash of a block's cells.
pub(super) fn cells_hash(cells: &Cells) -> u64 {
    cells.iter().enumerate().fold(0, |hash, (at, row)| hash ^ cell_hash(at, *row))
}

impl Image {
    pub(super) fn new(limits: &Limits) -> Self {
        let constant = |row| BlockState { index: 0, cells: Box::new([row; 256]), base: row, needs: 1, hash: 0 };
        Self {
            rows: vec![(Bits::NONE, 1), (!Bits::NONE, 1)],
            row_ids: Numbers::new(2, limits.rows),
            live: Bits::NONE,
            by_bits: HashMap::new(),
            blocks: vec![constant(ROW_DENY), constant(ROW_ACCEPT)],
            block_ids: Numbers::new(2, limits.blocks),
            of_index: vec![BTreeSet::new(); SLOT_BLOCKS],
            by_content: HashMap::new(),
            slots: vec![SlotState::of(BLOCK_DENY, ROW_DENY), SlotState::of(BLOCK_ACCEPT, ROW_ACCEPT)],
            slot_ids: Numbers::new(2, limits.slots),
        }
    }

    /// The rows in use, but for the constants.
    pub(super) fn rows(&self) -> impl Iterator<Item = (Row, Bits)> {
        (0..).zip(&self.rows).skip(2).filter(|(_, (_, needs))| *needs > 0).map(|(row, (bits, _))| (row, *bits))
    }

    /// The row of these bits, as far as port classes exist.
    pub(super) fn find_row(&self, bits: &Bits) -> Option<Row> {
        self.by_bits.get(bits).copied()
    }

    pub(super) fn row(&self, row: Row) -> Bits {
        self.rows[row as usize].0
    }

    /// The blocks in use, but for the constants.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (Block, &BlockState)> {
        self.of_index.iter().flatten().map(|block| (*block, self.block(*block)))
    }

    pub(super) fn block(&self, block: Block) -> &BlockState {
        &self.blocks[block as usize]
    }

    pub(super) fn slot(&self, slot: Slot) -> &[Block; SLOT_BLOCKS] {
        &self.slots[slot as usize].blocks
    }

    /// The rows of a slot for 256 classes, and its row for an address of which it knows nothing.
    pub(super) fn cells(&self, slot: Slot, index: u8) -> (&Cells, Row) {
        let SlotState { blocks, base } = &self.slots[slot as usize];
        (&self.block(blocks[usize::from(index)]).cells, *base)
    }

    /// The row of a slot for an address of which it knows nothing.
    pub(super) fn base(&self, slot: Slot) -> Row {
        self.slots[slot as usize].base
    }

    /// The row of a slot for a class.
    pub(super) fn cell(&self, slot: Slot, class: Class) -> Row {
        let block = self.slots[slot as usize].blocks[(class / BLOCK_CLASSES) as usize];
        self.blocks[block as usize].cells[(class % BLOCK_CLASSES) as usize]
    }

    /// A block of these cells.
    pub(super) fn find_block(&self, index: u8, hash: u64, cells: &Cells) -> Option<Block> {
        let found = *self.by_content.get(&(index, hash))?;
        (*self.block(found).cells == *cells).then_some(found)
    }

    /// Says which port classes exist from now on.
    pub(super) fn set_live(&mut self, live: Bits) {
        self.live = live;
        self.by_bits = self.rows().map(|(row, bits)| (bits & live, row)).collect();
    }

    /// Sets a row, a new one or one in use.
    pub(super) fn set_row(&mut self, row: Row, bits: Bits) {
        self.row_ids.take(row);
        if self.rows.len() <= row as usize {
            self.rows.resize(row as usize + 1, (Bits::NONE, 0));
        }
        self.rows[row as usize].0 = bits;
        self.by_bits.entry(bits & self.live).or_insert(row);
    }

    /// Sets a new block.
    pub(super) fn set_block(&mut self, block: Block, new: NewBlock) {
        self.block_ids.take(block);
        let NewBlock { index, base, cells, hash } = new;
        for run in cells.chunk_by(|a, b| a == b) {
            self.need_row(run[0], run.len() as u32);
        }
        self.by_content.entry((index, hash)).or_insert(block);
        self.of_index[usize::from(index)].insert(block);
        if self.blocks.len() <= block as usize {
            let empty = BlockState { index: 0, cells: Box::new([DEAD; 256]), base: ROW_DENY, needs: 0, hash: 0 };
            self.blocks.resize(block as usize + 1, empty);
        }
        self.blocks[block as usize] = BlockState { index, cells, base, hash, needs: 0 };
    }

    /// Sets a cell.
    pub(super) fn set_cell(&mut self, block: Block, at: u8, row: Row) {
        self.need_row(row, 1);
        let at = usize::from(at);
        let state = &mut self.blocks[block as usize];
        let before = std::mem::replace(&mut state.cells[at], row);
        let old_key = (state.index, state.hash);
        state.hash ^= cell_hash(at, before) ^ cell_hash(at, row);
        let new_key = (state.index, state.hash);
        if self.by_content.get(&old_key) == Some(&block) {
            self.by_content.remove(&old_key);
        }
        self.by_content.entry(new_key).or_insert(block);
        self.free_row(before, 1);
    }

    /// Sets the block of a slot.
    pub(super) fn set_slot_block(&mut self, slot: Slot, index: u8, block: Block) {
        self.blocks[block as usize].needs += 1;
        let before = std::mem::replace(&mut self.slots[slot as usize].blocks[usize::from(index)], block);
        self.let_go(before);
    }

    /// Takes a slot that leads nowhere.
    pub(super) fn take_slot(&mut self, slot: Slot, base: Row) {
        self.slot_ids.take(slot);
        self.need_row(base, 1);
        if self.slots.len() <= slot as usize {
            self.slots.resize(slot as usize + 1, SlotState::of(BLOCK_DENY, ROW_DENY));
        }
        self.slots[slot as usize].base = base;
    }

    fn need_row(&mut self, row: Row, times: u32) {
        if row != DEAD && row > ROW_ACCEPT {
            self.rows[row as usize].1 += times;
        }
    }

    fn free_row(&mut self, row: Row, times: u32) {
        if row == DEAD || row <= ROW_ACCEPT {
            return;
        }
        let (bits, needs) = &mut self.rows[row as usize];
        *needs -= times;
        if *needs == 0 {
            let key = *bits & self.live;
            if self.by_bits.get(&key) == Some(&row) {
                self.by_bits.remove(&key);
            }
            self.row_ids.give(row);
        }
    }

    fn let_go(&mut self, block: Block) {
        if block <= BLOCK_ACCEPT {
            return;
        }
        let state = &mut self.blocks[block as usize];
        state.needs -= 1;
        if state.needs > 0 {
            return;
        }
        let key = (state.index, state.hash);
        let cells = std::mem::replace(&mut state.cells, Box::new([DEAD; 256]));
        if self.by_content.get(&key) == Some(&block) {
            self.by_content.remove(&key);
        }
        self.of_index[usize::from(key.0)].remove(&block);
        for run in cells.chunk_by(|a, b| a == b) {
            self.free_row(run[0], run.len() as u32);
        }
        self.block_ids.give(block);
    }

    /// Carries a draft out.
    pub(super) fn carry_out(&mut self, deeds: Deeds) {
        // A row that is to be used again must not go in between.
        let named = deeds.cells.iter().map(|(.., row)| *row).chain(deeds.slots.iter().map(|(_, base)| *base));
        let rows: Vec<_> = deeds.rows.iter().map(|(row, _)| *row).chain(named).collect();
        deeds.rows.into_iter().for_each(|(row, bits)| self.set_row(row, bits));
        rows.iter().for_each(|row| self.need_row(*row, 1));
        deeds.blocks.into_iter().for_each(|(block, new)| self.set_block(block, new));
        deeds.cells.into_iter().for_each(|(block, at, row)| self.set_cell(block, at, row));
        deeds.slots.into_iter().for_each(|(slot, base)| self.take_slot(slot, base));
        deeds.slot_blocks.into_iter().for_each(|(slot, index, block)| self.set_slot_block(slot, index, block));
        // A row that a block was meant for which did not fit is nobody's.
        rows.into_iter().for_each(|row| self.free_row(row, 1));
    }

    /// Frees a slot, which leads nowhere from now on.
    pub(super) fn retire(&mut self, slot: Slot) {
        let SlotState { blocks, base } =
            std::mem::replace(&mut self.slots[slot as usize], SlotState::of(BLOCK_DENY, ROW_DENY));
        blocks.into_iter().for_each(|block| self.let_go(block));
        self.free_row(base, 1);
        self.slot_ids.give(slot);
    }

    /// Notes that these classes, in ascending order, exist no more. What the tables say of them may stay where it is what
    /// the slot would say of the next class of the number, if it knew nothing about it.
    pub(super) fn kill(&mut self, classes: &[Class]) {
        for group in classes.chunk_by(|a, b| a / BLOCK_CLASSES == b / BLOCK_CLASSES) {
            let mut over = Vec::new();
            for block in &self.of_index[(group[0] / BLOCK_CLASSES) as usize] {
                let state = self.block(*block);
                let cells = group.iter().map(|class| (class % BLOCK_CLASSES) as u8);
                let stale = cells.filter(|at| {
                    !matches!(state.cells[usize::from(*at)], DEAD) && state.cells[usize::from(*at)] != state.base
                });
                over.extend(stale.map(|at| (*block, at)));
            }
            over.into_iter().for_each(|(block, at)| self.set_cell(block, at, DEAD));
        }
    }
}
