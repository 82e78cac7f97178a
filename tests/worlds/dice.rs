//! Dice that always fall the same way: what they decide is either not what is explored, or tried both ways.

use std::convert::Infallible;

use rand::TryRng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dice {
    Low,
    High,
}

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(match self {
            Dice::Low => 0,
            Dice::High => u32::MAX,
        })
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(match self {
            Dice::Low => 0,
            Dice::High => u64::MAX,
        })
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let byte = match self {
            Dice::Low => 0,
            Dice::High => u8::MAX,
        };
        bytes.fill(byte);
        Ok(())
    }
}
