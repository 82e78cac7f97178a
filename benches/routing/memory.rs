//! How much memory an ability takes, a full build for a moment, and a pick: by counting what is allocated.
//!
//! `cargo bench --bench routing_memory`.

#[path = "cases.rs"]
mod cases;
#[path = "house.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks of routing")]
mod house;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use cases::CASES;
use house::House;

#[global_allocator]
static HEAP: Counting = Counting {
    live: AtomicUsize::new(0),
    most: AtomicUsize::new(0),
    calls: AtomicUsize::new(0),
};

/// Enough that what is allocated now and then shows, few enough to take no time.
const PICKS: usize = 10_000;

fn main() {
    println!("bytes an ability, channels and names apart (goal: at most 24)");
    for (name, house) in [
        ("thousand", House::THOUSAND),
        ("100 thousand", House::HUNDRED_THOUSAND),
        ("million", House::MILLION),
        ("million in wide routes", House::MILLION_IN_WIDE_ROUTES),
    ] {
        abilities(name, house);
    }
    println!("\nallocations a pick");
    for (name, case) in CASES {
        let mut case = case();
        let before = HEAP.calls.load(Relaxed);
        for _ in 0..PICKS {
            let _ = black_box(case.pick());
        }
        let calls = HEAP.calls.load(Relaxed) - before;
        println!("  {name:<40} {:6.3}", calls as f64 / PICKS as f64);
    }
}

/// A house of the same channels and names with few abilities tells what channels and names take.
fn abilities(name: &str, house: House) {
    let bare = House {
        models_each: house.models.div_ceil(house.channels),
        ..house
    };
    let (bytes, most, computed) = heap_of(house);
    let (bare_bytes, _, bare_computed) = heap_of(bare);
    let apart = bare_bytes - bare_computed;
    let each = |bytes: usize| bytes as f64 / house.abilities() as f64;
    println!(
        "  {name:<40} {:6.2} by the heap, {:6.2} by the snapshot's own word; {:6.1} MB in all, {:6.1} MB at most while building",
        each(bytes - apart),
        each(computed),
        bytes as f64 / 1e6,
        most as f64 / 1e6,
    );
}

/// What a snapshot occupies, the most that its build did, and what it says of itself.
fn heap_of(house: House) -> (usize, usize, usize) {
    let rows = house.rows();
    let before = HEAP.live.load(Relaxed);
    HEAP.most.store(before, Relaxed);
    let snapshot = black_box(rows.snapshot());
    let bytes = HEAP.live.load(Relaxed) - before;
    let most = HEAP.most.load(Relaxed) - before;
    (bytes, most, snapshot.ability_bytes())
}

/// The system's allocator, and what was asked of it.
struct Counting {
    live: AtomicUsize,
    most: AtomicUsize,
    calls: AtomicUsize,
}

impl Counting {
    fn more(&self, bytes: usize) {
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        self.most.fetch_max(live, Relaxed);
        self.calls.fetch_add(1, Relaxed);
    }
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.more(layout.size());
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        self.live.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.live.fetch_sub(layout.size(), Relaxed);
        self.more(size);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}
