//! Hashes and statistics of a part, as VirusTotal shows them.

use md5::Md5;
use sha2::{Digest, Sha256};

use super::out::Out;

pub struct Stats {
    /// Shannon's, in bits a byte: 0 to 8.
    pub entropy: f64,
    /// Pearson's test against evenly spread bytes; -1 where there are none.
    pub chi2: f64,
}

/// Four tables, so that equal neighbours do not wait for each other.
fn histogram(data: &[u8]) -> [u64; 256] {
    let mut tables = [[0u32; 256]; 4];
    let mut total = [0u64; 256];
    // u32 counts of 4 GB at the most before they are summed up.
    for block in data.chunks(1 << 30) {
        let mut quads = block.chunks_exact(4);
        for quad in &mut quads {
            for (table, byte) in tables.iter_mut().zip(quad) {
                table[*byte as usize] += 1;
            }
        }
        for byte in quads.remainder() {
            tables[0][*byte as usize] += 1;
        }
        for table in &mut tables {
            for (sum, count) in total.iter_mut().zip(table.iter_mut()) {
                *sum += u64::from(std::mem::take(count));
            }
        }
    }
    total
}

pub fn stats(data: &[u8]) -> Stats {
    if data.is_empty() {
        return Stats {
            entropy: 0.0,
            chi2: -1.0,
        };
    }
    let n = data.len() as f64;
    let expected = n / 256.0;
    let (mut entropy, mut chi2) = (0.0, 0.0);
    for count in histogram(data) {
        let count = count as f64;
        if count > 0.0 {
            entropy -= count / n * (count / n).log2();
        }
        chi2 += (count - expected) * (count - expected) / expected;
    }
    Stats {
        entropy: entropy.max(0.0),
        chi2,
    }
}

impl Stats {
    /// Two decimals, as sections have them.
    pub fn write_short(&self, out: &mut Out) {
        out.float("chi2", round2(self.chi2));
        out.float("entropy", round2(self.entropy));
    }

    pub fn write(&self, out: &mut Out) {
        out.float("chi2", f64::from(self.chi2 as f32));
        out.float("entropy", f64::from(self.entropy as f32));
    }
}

fn round2(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

pub fn md5_of(data: &[u8]) -> String {
    hex(&Md5::digest(data))
}

pub fn sha256_of(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!((stats(&all).entropy, stats(&all).chi2), (8.0, 0.0));
        // Sixteen different bytes: the example of VirusTotal's page on .NET streams.
        let few: Vec<u8> = (0..16).collect();
        assert_eq!((stats(&few).entropy, stats(&few).chi2), (4.0, 240.0));
        assert_eq!((stats(b"").entropy, stats(b"").chi2), (0.0, -1.0));
        assert_eq!(stats(&[7; 1000]).entropy, 0.0);
        assert_eq!(md5_of(b""), "d41d8cd98f00b204e9800998ecf8427e");
    }
}
