//! Weighted choice in two reads: Walker's alias method, in whole numbers.

/// One slot of an alias table: draw a slot, then keep its own item or take the alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AliasSlot {
    /// The slot's own item is kept if a draw of 32 bits is not greater than this.
    pub keep: u32,
    /// The item that is taken otherwise.
    pub alias: u32,
}

/// A table that draws item `n` as often as its weight is of their sum, exactly but for the rounding of one part in
/// 2^32. Weights are more than 0; empty where there is no item.
#[must_use]
pub fn alias_table(weights: &[u32]) -> Vec<AliasSlot> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    if total == 0 {
        return Vec::new();
    }
    // Scaled so that a full slot holds `total`.
    let count = weights.len() as u64;
    let mut rest: Vec<u128> = weights.iter().map(|weight| u128::from(*weight) * u128::from(count)).collect();
    let full = u128::from(total);
    let mut slots: Vec<AliasSlot> =
        (0..).take(weights.len()).map(|own| AliasSlot { keep: u32::MAX, alias: own }).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..rest.len()).partition(|n| rest[*n] < full);
    while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
        let keep = (rest[poor] << 32) / full;
        slots[poor] = AliasSlot { keep: threshold(keep), alias: slots[rich].alias };
        rest[rich] -= full - rest[poor];
        if rest[rich] < full {
            large.pop();
            small.push(rich);
        }
    }
    slots
}

/// `keep` parts of 2^32 as the greatest draw that keeps. No part at all would round up to one: items of weight 0 have no
/// place in a table.
fn threshold(keep: u128) -> u32 {
    u32::try_from(keep.saturating_sub(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The share of each item over all draws, in parts of 2^32 per slot.
    fn shares(slots: &[AliasSlot]) -> Vec<u128> {
        let mut shares = vec![0u128; slots.len()];
        for (own, slot) in slots.iter().enumerate() {
            let keep = u128::from(slot.keep) + 1;
            shares[own] += keep;
            shares[slot.alias as usize] += (1 << 32) - keep;
        }
        shares
    }

    #[test]
    fn nothing_to_draw() {
        assert_eq!(alias_table(&[]), []);
    }

    #[test]
    fn equal_weights_keep_their_own() {
        assert!(alias_table(&[7, 7, 7]).iter().all(|slot| slot.keep == u32::MAX));
    }

    proptest! {
        #[test]
        fn shares_follow_weights(weights in prop::collection::vec(1u32.., 1..200)) {
            let slots = alias_table(&weights);
            prop_assert_eq!(slots.len(), weights.len());
            let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
            let draws = (slots.len() as u128) << 32;
            for (share, weight) in shares(&slots).into_iter().zip(&weights) {
                let wanted = draws * u128::from(*weight) / total;
                // Each of the slots that lead here may be off by one draw in 2^32.
                prop_assert!(share.abs_diff(wanted) <= slots.len() as u128 + 1, "{share} of {draws}, wanted {wanted}");
            }
        }
    }
}
