//! A change of rows, blocks and slots before it is made: it may still turn out not to fit.
use std::collections::HashMap;

use super::{
    Fit, Shortage,
    image::{Available, Cells, DEAD, Image, Numbers, cell_hash, cells_hash},
    portset::Bits,
};
use crate::policy::tables::{
    BLOCK_ACCEPT, BLOCK_CLASSES, BLOCK_DENY, Block, Class, PortClass, ROW_ACCEPT, ROW_DENY, Row, SLOT_DENY, Slot, Write,
};

/// What shall happen to the image, besides the writes that say so to the tables.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    pub(super) rows: Vec<(Row, Bits)>,
    pub(super) blocks: Vec<(Block, u8, Box<Cells>)>,
    pub(super) cells: Vec<(Block, u8, Row)>,
    pub(super) slots: Vec<Slot>,
    pub(super) slot_blocks: Vec<(Slot, u8, Block)>,
}

/// Rows, blocks and slots to come.
pub(super) struct Draft<'d> {
    image: &'d Image,
    live: Bits,
    /// Rows in use that get another meaning for new port classes.
    rewritten: HashMap<Row, Bits>,
    /// All rows by their bits, where port classes change; else only the new ones.
    by_bits: HashMap<Bits, Row>,
    is_reindexed: bool,
    /// New blocks, and blocks in use with new cells.
    changed: HashMap<Block, (Box<Cells>, u64)>,
    by_content: HashMap<(u8, u64), Block>,
    free: [Available<'d>; 3],
    fresh: [u32; 3],
    pub(super) deeds: Deeds,
    pub(super) writes: Vec<Write>,
}

const ROWS: usize = 0;
const BLOCKS: usize = 1;
const SLOTS: usize = 2;

impl<'d> Draft<'d> {
    /// Nothing changes yet but the port classes: `splits` gives each new one and the one whose verdicts it takes over,
    /// `live` those that exist.
    pub(super) fn new(image: &'d Image, live: Bits, splits: &[(PortClass, PortClass)], is_reindexed: bool) -> Self {
        let mut draft = Self {
            image,
            live,
            rewritten: HashMap::new(),
            by_bits: HashMap::new(),
            is_reindexed,
            changed: HashMap::new(),
            by_content: HashMap::new(),
            free: [image.row_ids.available(), image.block_ids.available(), image.slot_ids.available()],
            fresh: [0; 3],
            deeds: Deeds::default(),
            writes: Vec::new(),
        };
        if is_reindexed {
            for (row, before) in image.rows() {
                let bits = splits.iter().fold(before, |mut bits, (new, old)| {
                    bits.set(*new, before.has(*old));
                    bits
                });
                if bits != before {
                    draft.rewritten.insert(row, bits);
                    draft.set_row(row, bits);
                }
                draft.by_bits.entry(bits & live).or_insert(row);
            }
        }
        draft
    }

    fn set_row(&mut self, row: Row, bits: Bits) {
        self.writes.push(Write::Row { row, bits: Box::new(bits.0) });
        self.deeds.rows.push((row, bits));
    }

    /// The verdicts of a row.
    pub(super) fn bits(&self, row: Row) -> Bits {
        self.rewritten.get(&row).copied().unwrap_or_else(|| self.image.row(row)) & self.live
    }

    fn fresh(&mut self, kind: usize, fit: &mut Fit, fallback: u32) -> Result<u32, Shortage> {
        if let Some(number) = self.free[kind].next() {
            self.fresh[kind] += 1;
            return Ok(number);
        }
        let (what, numbers): (_, &Numbers) = match kind {
            ROWS => ("rows", &self.image.row_ids),
            BLOCKS => ("blocks", &self.image.block_ids),
            _ => ("slots", &self.image.slot_ids),
        };
        let wanted = u64::from(numbers.taken() + self.fresh[kind] + 1);
        fit.or(Shortage { what, wanted, limit: u64::from(numbers.limit()) }, fallback)
    }

    /// The row of these verdicts.
    pub(super) fn row(&mut self, bits: Bits, fit: &mut Fit) -> Result<Row, Shortage> {
        let bits = bits & self.live;
        if bits.is_empty() {
            return Ok(ROW_DENY);
        }
        if bits == self.live {
            return Ok(ROW_ACCEPT);
        }
        let known = self.by_bits.get(&bits).copied();
        if let Some(row) = known.or_else(|| self.image.find_row(&bits).filter(|_| !self.is_reindexed)) {
            return Ok(row);
        }
        let row = self.fresh(ROWS, fit, ROW_DENY)?;
        if row != ROW_DENY {
            self.set_row(row, bits);
            self.by_bits.insert(bits, row);
        }
        Ok(row)
    }

    /// The block of these cells.
    fn block(&mut self, index: u8, cells: Cells, fit: &mut Fit) -> Result<Block, Shortage> {
        let all = |row| cells.iter().all(|cell| *cell == row || *cell == DEAD);
        if all(ROW_DENY) {
            return Ok(BLOCK_DENY);
        }
        if all(ROW_ACCEPT) {
            return Ok(BLOCK_ACCEPT);
        }
        let hash = cells_hash(&cells);
        if let Some(block) = self.by_content.get(&(index, hash))
            && *self.changed[block].0 == cells
        {
            return Ok(*block);
        }
        if let Some(block) = self.image.find_block(index, hash, &cells)
            && !self.changed.contains_key(&block)
        {
            return Ok(block);
        }
        let block = self.fresh(BLOCKS, fit, BLOCK_DENY)?;
        if block != BLOCK_DENY {
            let rows = Box::new(cells.map(|row| if row == DEAD { ROW_DENY } else { row }));
            self.writes.push(Write::Block { block, rows });
            self.deeds.blocks.push((block, index, Box::new(cells)));
            self.note(block, index, Box::new(cells), hash);
        }
        Ok(block)
    }

    fn note(&mut self, block: Block, index: u8, cells: Box<Cells>, hash: u64) {
        self.by_content.insert((index, hash), block);
        self.changed.insert(block, (cells, hash));
    }

    fn set_slot_block(&mut self, slot: Slot, index: u8, block: Block) {
        self.writes.push(Write::SlotBlock { slot, index, block });
        self.deeds.slot_blocks.push((slot, index, block));
    }

    /// Tells slots in force the rows of new classes: `rows` has, for each slot, the row of each of `classes`, which
    /// share one index. No address leads to them yet.
    pub(super) fn extend(
        &mut self,
        classes: &[Class],
        rows: Vec<(Slot, Vec<Row>)>,
        alive: &dyn Fn(Class) -> bool,
        fit: &mut Fit,
    ) -> Result<(), Shortage> {
        let Some(index) = classes.first().map(|class| (class / BLOCK_CLASSES) as u8) else { return Ok(()) };
        // The slots of one block that agree on the new cells, by block and cells.
        let mut users: HashMap<Block, HashMap<Vec<Row>, Vec<Slot>>> = HashMap::new();
        for (slot, rows) in rows {
            let block = self.image.slot(slot)[usize::from(index)];
            users.entry(block).or_default().entry(rows).or_default().push(slot);
        }
        let mut users: Vec<_> = users.into_iter().collect();
        users.sort_unstable_by_key(|(block, _)| *block);
        for (block, variants) in users {
            let mut variants: Vec<_> = variants.into_iter().collect();
            variants.sort_unstable_by(|(a, a_slots), (b, b_slots)| (b_slots.len(), a).cmp(&(a_slots.len(), b)));
            let mut variants = variants.into_iter();
            let mut cells = *self.image.block(block).cells;
            if block <= BLOCK_ACCEPT {
                let first = u32::from(index) * BLOCK_CLASSES;
                for (class, cell) in (first..).zip(&mut cells).filter(|(class, _)| !alive(*class)) {
                    let _ = class;
                    *cell = DEAD;
                }
            } else if let Some((rows, _)) = variants.next() {
                self.set_cells(block, index, classes, &rows);
            }
            for (rows, slots) in variants {
                let mut own = cells;
                classes.iter().zip(&rows).for_each(|(class, row)| own[(class % BLOCK_CLASSES) as usize] = *row);
                let own = self.block(index, own, fit)?;
                slots.into_iter().filter(|_| own != block).for_each(|slot| self.set_slot_block(slot, index, own));
            }
        }
        Ok(())
    }

    fn set_cells(&mut self, block: Block, index: u8, classes: &[Class], rows: &[Row]) {
        let state = self.image.block(block);
        let (mut cells, mut hash) = (state.cells.clone(), state.hash);
        for (class, row) in classes.iter().zip(rows) {
            let at = (class % BLOCK_CLASSES) as u8;
            self.writes.push(Write::Cell { block, index: at, row: *row });
            self.deeds.cells.push((block, at, *row));
            let at = usize::from(at);
            hash ^= cell_hash(at, cells[at]) ^ cell_hash(at, *row);
            cells[at] = *row;
        }
        self.note(block, index, cells, hash);
    }

    /// A new slot of these rows, one for each class, in the order of classes.
    pub(super) fn slot(
        &mut self,
        rows: impl IntoIterator<Item = (Class, Row)>,
        fit: &mut Fit,
    ) -> Result<Slot, Shortage> {
        let slot = self.fresh(SLOTS, fit, SLOT_DENY)?;
        if slot == SLOT_DENY {
            return Ok(slot);
        }
        self.deeds.slots.push(slot);
        let mut at: Option<(u8, Cells)> = None;
        for (class, row) in rows {
            let index = (class / BLOCK_CLASSES) as u8;
            if let Some((before, cells)) = at.take_if(|(before, _)| *before != index) {
                self.fill(slot, before, cells, fit)?;
            }
            let (_, cells) = at.get_or_insert((index, [DEAD; 256]));
            cells[(class % BLOCK_CLASSES) as usize] = row;
        }
        if let Some((index, cells)) = at {
            self.fill(slot, index, cells, fit)?;
        }
        Ok(slot)
    }

    fn fill(&mut self, slot: Slot, index: u8, cells: Cells, fit: &mut Fit) -> Result<(), Shortage> {
        let block = self.block(index, cells, fit)?;
        if block != BLOCK_DENY {
            self.set_slot_block(slot, index, block);
        }
        Ok(())
    }
}
