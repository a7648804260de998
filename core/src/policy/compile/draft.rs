//! A change of rows, blocks and slots before it is made: it may still turn out not to fit.
use hashbrown::{HashMap, HashSet};

use super::{
    Fit, Shortage,
    image::{Available, DEAD, Image, NewBlock, Numbers, cell_hash, cells_hash},
    portset::Bits,
};
use crate::policy::tables::{
    BLOCK_ACCEPT, BLOCK_CLASSES, BLOCK_DENY, Block, Class, PortClass, ROW_ACCEPT, ROW_DENY, Row, SLOT_DENY, Slot, Write,
};

/// What shall happen to the image, besides the writes that say so to the tables.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    pub(super) rows: Vec<(Row, Bits)>,
    pub(super) blocks: Vec<(Block, NewBlock)>,
    pub(super) cells: Vec<(Block, u8, Row)>,
    /// With their row for addresses of which they know nothing.
    pub(super) slots: Vec<(Slot, Row)>,
    pub(super) slot_blocks: Vec<(Slot, u8, Block)>,
}

/// A slot in force with new rows: its block, its row for what it knows nothing of, the rows, the slot.
type Told = (Block, Row, Vec<(Class, Row)>, Slot);

/// Rows, blocks and slots to come.
pub(super) struct Draft<'d> {
    image: &'d Image,
    live: Bits,
    /// Rows in use that get another meaning for new port classes.
    rewritten: HashMap<Row, Bits>,
    /// All rows by their bits, where port classes change; else only the new ones.
    by_bits: HashMap<Bits, Row>,
    is_reindexed: bool,
    /// Blocks in use that get new cells.
    changed: HashSet<Block>,
    /// Where among the deeds the new block of this hash is.
    by_content: HashMap<(u8, u64), usize>,
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
            changed: HashSet::new(),
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
    fn block(&mut self, new: NewBlock, fit: &mut Fit) -> Result<Block, Shortage> {
        let NewBlock { index, hash, ref cells, .. } = new;
        for (row, block) in [(ROW_DENY, BLOCK_DENY), (ROW_ACCEPT, BLOCK_ACCEPT)] {
            if cells.iter().all(|cell| *cell == row || *cell == DEAD) {
                return Ok(block);
            }
        }
        if let Some(at) = self.by_content.get(&(index, hash))
            && self.deeds.blocks[*at].1.cells == *cells
        {
            return Ok(self.deeds.blocks[*at].0);
        }
        if let Some(block) = self.image.find_block(index, hash, cells)
            && !self.changed.contains(&block)
        {
            return Ok(block);
        }
        let block = self.fresh(BLOCKS, fit, BLOCK_DENY)?;
        if block != BLOCK_DENY {
            let rows = Box::new(cells.map(|row| if row == DEAD { ROW_DENY } else { row }));
            self.writes.push(Write::Block { block, rows });
            self.by_content.insert((index, hash), self.deeds.blocks.len());
            self.deeds.blocks.push((block, new));
        }
        Ok(block)
    }

    fn set_slot_block(&mut self, slot: Slot, index: u8, block: Block) {
        self.writes.push(Write::SlotBlock { slot, index, block });
        self.deeds.slot_blocks.push((slot, index, block));
    }

    /// Tells slots in force the rows of new classes, which share one index, where they differ from what the slots say
    /// already. No address leads to them yet.
    pub(super) fn extend(
        &mut self,
        index: u8,
        told: Vec<(Slot, Vec<(Class, Row)>)>,
        alive: &dyn Fn(Class) -> bool,
        fit: &mut Fit,
    ) -> Result<(), Shortage> {
        // The slots of one block that agree on the new cells.
        let mut told: Vec<Told> = told
            .into_iter()
            .map(|(slot, rows)| (self.image.slot(slot)[usize::from(index)], self.image.base(slot), rows, slot))
            .collect();
        told.sort_unstable();
        let mut variants: Vec<&[Told]> = Vec::new();
        // A block that changes is nobody else's: so all that do are known before one is looked up.
        for users in told.chunk_by(|a, b| a.0 == b.0) {
            let block = users[0].0;
            let first = variants.len();
            variants.extend(users.chunk_by(|a, b| (a.1, &a.2) == (b.1, &b.2)));
            variants[first..].sort_by_key(|variant| std::cmp::Reverse(variant.len()));
            if block > BLOCK_ACCEPT && self.image.block(block).users() == users.len() {
                self.set_cells(block, &variants.remove(first)[0].2);
            }
        }
        for variant in variants {
            let (block, base, rows, _) = &variant[0];
            let mut cells = self.image.block(*block).cells.clone();
            if *block <= BLOCK_ACCEPT {
                let first = u32::from(index) * BLOCK_CLASSES;
                let unused = (first..).zip(cells.iter_mut()).filter(|(class, _)| !alive(*class));
                unused.for_each(|(_, cell)| *cell = *base);
            }
            rows.iter().for_each(|(class, row)| cells[(class % BLOCK_CLASSES) as usize] = *row);
            let hash = cells_hash(&cells);
            let own = self.block(NewBlock { index, base: *base, cells, hash }, fit)?;
            variant.iter().filter(|_| own != *block).for_each(|user| self.set_slot_block(user.3, index, own));
        }
        Ok(())
    }

    fn set_cells(&mut self, block: Block, rows: &[(Class, Row)]) {
        self.changed.insert(block);
        for (class, row) in rows {
            let index = (class % BLOCK_CLASSES) as u8;
            self.writes.push(Write::Cell { block, index, row: *row });
            self.deeds.cells.push((block, index, *row));
        }
    }

    /// A new slot: `base` says what it does with an address of which it knows nothing, `known` the rows of those of which
    /// it does, in the order of classes, `end` where the numbers of classes end.
    pub(super) fn slot(
        &mut self,
        base: Row,
        known: &[(Class, Row)],
        end: Class,
        fit: &mut Fit,
    ) -> Result<Slot, Shortage> {
        let slot = self.fresh(SLOTS, fit, SLOT_DENY)?;
        if slot == SLOT_DENY {
            return Ok(slot);
        }
        self.deeds.slots.push((slot, base));
        let uniform = cells_hash(&[base; BLOCK_CLASSES as usize]);
        let mut known = known.chunk_by(|(a, _), (b, _)| a / BLOCK_CLASSES == b / BLOCK_CLASSES).peekable();
        for index in 0..end.div_ceil(BLOCK_CLASSES) {
            let rows = known.next_if(|rows| rows[0].0 / BLOCK_CLASSES == index).unwrap_or_default();
            if rows.is_empty() && base == ROW_DENY {
                continue;
            }
            let (mut cells, mut hash) = (Box::new([base; BLOCK_CLASSES as usize]), uniform);
            for (class, row) in rows {
                let at = (class % BLOCK_CLASSES) as usize;
                hash ^= cell_hash(at, cells[at]) ^ cell_hash(at, *row);
                cells[at] = *row;
            }
            let index = index as u8;
            let block = self.block(NewBlock { index, base, cells, hash }, fit)?;
            if block != BLOCK_DENY {
                self.set_slot_block(slot, index, block);
            }
        }
        Ok(slot)
    }
}
