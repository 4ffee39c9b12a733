//! The icon a file shows itself with.

use yara_x::mods::pe::PE;

use super::read::Reader;
use super::stats::md5_of;
use super::Facts;

const ICON: u32 = 3;
const GROUP_ICON: u32 = 14;
const ENTRIES_MAX: usize = 64;

/// The largest picture (then the one with most colours) of the first group of icons: the one
/// that Windows shows in large views.
fn main_icon<'a>(facts: &mut Facts<'a>, pe: &PE) -> Option<&'a [u8]> {
    let of_type = |kind: u32| {
        pe.resources
            .iter()
            .filter(move |r| r.type_.is_some_and(|t| t.value() as u32 == kind))
    };
    let group = of_type(GROUP_ICON).next()?;
    let directory = facts.part(group.offset? as usize, group.length() as usize)?;
    let reader = Reader::little(directory);
    let count = (reader.u16(4)? as usize).min(ENTRIES_MAX);
    let mut best: Option<((u32, u16), u32)> = None;
    for at in (0..count).map(|i| 6 + i * 14) {
        let side = |v: u8| if v == 0 { 256 } else { u32::from(v) };
        let (Some(w), Some(h), Some(bits), Some(id)) = (
            reader.u8(at),
            reader.u8(at + 1),
            reader.u16(at + 6),
            reader.u16(at + 12),
        ) else {
            break;
        };
        let rank = (side(w) * side(h), bits);
        if best.is_none_or(|(known, _)| rank > known) {
            best = Some((rank, u32::from(id)));
        }
    }
    let id = best?.1;
    let icon = of_type(ICON).find(|r| r.id == Some(id))?;
    facts.part(icon.offset? as usize, icon.length() as usize)
}

pub fn extract(facts: &mut Facts, pe: &PE) {
    let Some(icon) = main_icon(facts, pe) else {
        return;
    };
    if !icon.is_empty() {
        let md5 = md5_of(icon);
        facts.out.object("main_icon", |out| out.text("raw_md5", &md5));
    }
}
