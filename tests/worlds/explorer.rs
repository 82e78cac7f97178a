//! Every state that a small world can reach, breadth first, and what can be said of the whole graph.
//!
//! An explorer of our own rather than the crate `stateright`: half of what is asked here (who is answered in the
//! end, what goes on for ever) is a question about the cycles of the whole graph, which that crate does not keep
//! and whose `eventually` looks at paths without cycles only. What is left, breadth-first search, is a page.
//!
//! States whose keys are equal count as one. That they go on alike is checked by trial: now and then the state
//! that was found to be known already is expanded too, and must lead to the same states by the same steps.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// What kind of step it is, below 64; fairness speaks of kinds.
pub type Kind = u8;

/// A set of kinds, or of a state's marks.
pub type Bits = u64;

pub trait World {
    type State: Clone;
    type Step: fmt::Display;

    fn name(&self) -> String;
    fn start(&self) -> Self::State;
    /// What may happen next, always in the same order.
    fn steps(&self, state: &Self::State) -> Vec<Self::Step>;
    /// Makes it happen; an error is a property that does not hold, in words.
    fn take(&self, state: &mut Self::State, step: &Self::Step) -> Result<(), String>;
    /// Everything of the state that what follows can depend on.
    fn key(&self, state: &Self::State, hasher: &mut impl Hasher);
    /// Whether the key is all of the state, so that nothing can have been left out of it.
    fn is_key_whole(&self) -> bool {
        false
    }
    fn kind(&self, step: &Self::Step) -> Kind;
    /// What the liveness checks ask of a state.
    fn marks(&self, state: &Self::State) -> Bits;
}

/// A property that does not hold, with the shortest way there.
#[derive(Debug)]
pub struct Broken {
    pub what: String,
    pub path: Vec<String>,
    /// For what goes on for ever: the steps that come again and again after the path.
    pub cycle: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        for (number, step) in self.path.iter().enumerate() {
            writeln!(f, "  {:2}. {step}", number + 1)?;
        }
        if !self.cycle.is_empty() {
            writeln!(f, "  and then for ever:")?;
        }
        for step in &self.cycle {
            writeln!(f, "      {step}")?;
        }
        Ok(())
    }
}

/// All states of a world and what leads from each to which.
pub struct Graph<'w, W: World> {
    world: &'w W,
    marks: Vec<Bits>,
    /// From which state each was first reached, and by its how manyth step.
    parents: Vec<(u32, u32)>,
    /// Where each state's edges begin.
    first: Vec<usize>,
    edges: Vec<(u32, Kind)>,
}

/// More than this is no small world any more: the bounds are too wide, or something counts without end.
const STATES_AT_MOST: usize = 20_000_000;

/// Every so manyth state that is found to be known is expanded again.
const TRY_EVERY: usize = 61;
const TRIES_AT_MOST: usize = 4_000;

/// Explores the world; prints how large it is.
pub fn explore<W: World>(world: &W) -> Result<Graph<'_, W>, Broken> {
    let began = Instant::now();
    let mut graph = Graph {
        world,
        marks: Vec::new(),
        parents: Vec::new(),
        first: Vec::new(),
        edges: Vec::new(),
    };
    let mut known: HashMap<u128, u32> = HashMap::new();
    let mut tries: Vec<(W::State, u32)> = Vec::new();
    let mut found_again = 0usize;
    let mut queue = VecDeque::new();
    let start = world.start();
    known.insert(fingerprint(world, &start), 0);
    graph.add(&start, (0, 0));
    queue.push_back(start);
    let mut index = 0u32;
    while let Some(state) = queue.pop_front() {
        graph.first.push(graph.edges.len());
        for (place, step) in world.steps(&state).iter().enumerate() {
            let mut next = state.clone();
            if let Err(what) = world.take(&mut next, step) {
                let mut path = graph.path(index);
                path.push(step.to_string());
                let cycle = Vec::new();
                return Err(Broken { what, path, cycle });
            }
            let fresh = known.len() as u32;
            let target = *known.entry(fingerprint(world, &next)).or_insert(fresh);
            graph.edges.push((target, world.kind(step)));
            if target == fresh {
                graph.add(&next, (index, place as u32));
                queue.push_back(next);
            } else {
                found_again += 1;
                if !world.is_key_whole()
                    && found_again.is_multiple_of(TRY_EVERY)
                    && tries.len() < TRIES_AT_MOST
                {
                    tries.push((next, target));
                }
            }
        }
        assert!(known.len() <= STATES_AT_MOST, "{} has no end", world.name());
        index += 1;
    }
    graph.first.push(graph.edges.len());
    for (state, index) in &tries {
        graph.goes_on_alike(&known, state, *index);
    }
    println!(
        "{}: {} states, {} edges, {} of them expanded twice, {:.1} s",
        world.name(),
        graph.marks.len(),
        graph.edges.len(),
        tries.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(graph)
}

impl<W: World> Graph<'_, W> {
    /// Where nothing of `steps` can happen any more, `goal` holds.
    pub fn ends_in(&self, what: &str, steps: Bits, goal: impl Fn(Bits) -> bool) -> Result<(), Broken> {
        let is_end = |index: &usize| self.edges_of(*index).iter().all(|edge| !has(steps, edge.1));
        match (0..self.marks.len()).find(|index| is_end(index) && !goal(self.marks[*index])) {
            None => Ok(()),
            Some(index) => Err(Broken {
                what: what.to_owned(),
                path: self.path(index as u32),
                cycle: Vec::new(),
            }),
        }
    }

    /// Nothing goes on for ever in which only `steps` happen and `during` holds all the while: no cycle does, but
    /// for unfair ones. Of each set in `fair` a step that could be taken at every moment is taken some time (weak
    /// fairness): a running build ends some time, a message arrives, the clock goes on.
    pub fn ends(
        &self,
        what: &str,
        steps: Bits,
        during: impl Fn(Bits) -> bool,
        fair: &[Bits],
    ) -> Result<(), Broken> {
        let inside: Vec<bool> = self.marks.iter().map(|marks| during(*marks)).collect();
        let goes =
            |from: usize, edge: &(u32, Kind)| inside[from] && inside[edge.0 as usize] && has(steps, edge.1);
        let mut components = self.components(&goes);
        components.sort_unstable_by_key(|component| component[0]); // the nearest first
        for component in components {
            let within = |index: u32| component.binary_search(&index).is_ok();
            let inner: Vec<(u32, &(u32, Kind))> = component
                .iter()
                .flat_map(|from| {
                    self.edges_of(*from as usize)
                        .iter()
                        .map(move |edge| (*from, edge))
                })
                .filter(|(from, edge)| goes(*from as usize, edge) && within(edge.0))
                .collect();
            // The largest component decides: a fair run that stays in a part of it could as well visit all of it.
            let is_unfair = |fair: &Bits| {
                let taken = inner.iter().any(|(_, edge)| has(*fair, edge.1));
                let can_rest = component.iter().any(|index| {
                    !self
                        .edges_of(*index as usize)
                        .iter()
                        .any(|edge| has(*fair, edge.1))
                });
                !taken && !can_rest
            };
            if !inner.is_empty() && !fair.iter().any(is_unfair) {
                let entry = component[0];
                return Err(Broken {
                    what: what.to_owned(),
                    path: self.path(entry),
                    cycle: self.cycle(entry, &|from, edge| goes(from, edge) && within(edge.0)),
                });
            }
        }
        Ok(())
    }

    fn add(&mut self, state: &W::State, parent: (u32, u32)) {
        self.marks.push(self.world.marks(state));
        self.parents.push(parent);
    }

    fn edges_of(&self, index: usize) -> &[(u32, Kind)] {
        &self.edges[self.first[index]..self.first[index + 1]]
    }

    /// A state whose key was known leads where the known one leads.
    fn goes_on_alike(&self, known: &HashMap<u128, u32>, state: &W::State, index: u32) {
        let mut edges = Vec::new();
        for step in self.world.steps(state) {
            let mut next = state.clone();
            let broken = self.world.take(&mut next, &step).err();
            let target = known.get(&fingerprint(self.world, &next)).copied();
            let kind = self.world.kind(&step);
            edges.push((target.filter(|_| broken.is_none()), kind));
        }
        let expected: Vec<_> = self
            .edges_of(index as usize)
            .iter()
            .map(|(t, k)| (Some(*t), *k))
            .collect();
        assert_eq!(
            edges,
            expected,
            "{}: two states have one key and go on differently after\n  {}",
            self.world.name(),
            self.path(index).join("\n  ")
        );
    }

    /// The steps from the start, in words.
    fn path(&self, index: u32) -> Vec<String> {
        self.walk(index).1
    }

    fn walk(&self, index: u32) -> (W::State, Vec<String>) {
        let mut places = Vec::new();
        let mut at = index;
        while at != 0 {
            let (parent, place) = self.parents[at as usize];
            places.push(place as usize);
            at = parent;
        }
        let mut state = self.world.start();
        let mut words = Vec::new();
        for place in places.into_iter().rev() {
            self.follow(&mut state, place, &mut words);
        }
        (state, words)
    }

    fn follow(&self, state: &mut W::State, place: usize, words: &mut Vec<String>) {
        let step = self.world.steps(state).swap_remove(place);
        words.push(step.to_string());
        self.world.take(state, &step).expect("this step was taken before");
    }

    /// The shortest cycle from a state to itself by these edges.
    fn cycle(&self, entry: u32, goes: &impl Fn(usize, &(u32, Kind)) -> bool) -> Vec<String> {
        let mut came: HashMap<u32, (u32, usize)> = HashMap::new();
        let mut queue = VecDeque::from([entry]);
        'search: while let Some(from) = queue.pop_front() {
            for (place, edge) in self.edges_of(from as usize).iter().enumerate() {
                if goes(from as usize, edge) && !came.contains_key(&edge.0) {
                    came.insert(edge.0, (from, place));
                    queue.push_back(edge.0);
                    if edge.0 == entry {
                        break 'search;
                    }
                }
            }
        }
        let mut places = Vec::new();
        let mut at = entry;
        while let Some((from, place)) = came.get(&at) {
            places.push(*place);
            at = *from;
            if at == entry {
                break;
            }
        }
        let (mut state, _) = self.walk(entry);
        let mut words = Vec::new();
        for place in places.into_iter().rev() {
            self.follow(&mut state, place, &mut words);
        }
        words
    }

    /// The strongly connected components of the graph of these edges, after Tarjan, each sorted; in it are single
    /// states too, which only an edge to themselves makes a cycle.
    fn components(&self, goes: &impl Fn(usize, &(u32, Kind)) -> bool) -> Vec<Vec<u32>> {
        const UNSEEN: u32 = u32::MAX;
        let count = self.marks.len();
        let (mut number, mut low) = (vec![UNSEEN; count], vec![UNSEEN; count]);
        let mut on_stack = vec![false; count];
        let (mut stack, mut components, mut next_number) = (Vec::new(), Vec::new(), 0u32);
        for root in 0..count {
            if number[root] != UNSEEN {
                continue;
            }
            let mut calls: Vec<(usize, usize)> = vec![(root, 0)];
            while let Some((at, place)) = calls.pop() {
                if place == 0 {
                    number[at] = next_number;
                    low[at] = next_number;
                    next_number += 1;
                    stack.push(at as u32);
                    on_stack[at] = true;
                }
                let edges = self.edges_of(at);
                let mut place = place;
                let mut child = None;
                while place < edges.len() && child.is_none() {
                    let target = edges[place].0 as usize;
                    if goes(at, &edges[place]) {
                        if number[target] == UNSEEN {
                            child = Some(target);
                        } else if on_stack[target] {
                            low[at] = low[at].min(number[target]);
                        }
                    }
                    place += 1;
                }
                if let Some(child) = child {
                    calls.push((at, place));
                    calls.push((child, 0));
                    continue;
                }
                if low[at] == number[at] {
                    let from = stack
                        .iter()
                        .rposition(|index| *index as usize == at)
                        .expect("it is there");
                    let mut component = stack.split_off(from);
                    component
                        .iter()
                        .for_each(|index| on_stack[*index as usize] = false);
                    component.sort_unstable();
                    components.push(component);
                }
                if let Some((caller, _)) = calls.last() {
                    low[*caller] = low[*caller].min(low[at]);
                }
            }
        }
        components
    }
}

fn has(set: Bits, kind: Kind) -> bool {
    set >> kind & 1 == 1
}

/// 128 bits: that two of some millions meet by chance is beyond concern.
fn fingerprint<W: World>(world: &W, state: &W::State) -> u128 {
    let mut twins = Twins(DefaultHasher::new(), DefaultHasher::new());
    1u8.hash(&mut twins.1);
    world.key(state, &mut twins);
    u128::from(twins.0.finish()) << 64 | u128::from(twins.1.finish())
}

struct Twins(DefaultHasher, DefaultHasher);

impl Hasher for Twins {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}
