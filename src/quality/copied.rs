//! The longest stretch that two texts share.
//!
//! A text's suffix automaton (Blumer et al. 1985) has a state for each set of its stretches that end at the same places, at most
//! two a character. Another text of any length is led through it in one pass: at each character the automaton is at the longest
//! stretch that ends there and is in both.

/// The suffix automaton of a text.
pub struct Longest<T> {
    states: Vec<State<T>>,
}

struct State<T> {
    /// Of its longest stretch.
    length: usize,
    /// The state of the longest end of that which occurs at more places; the first state's is itself.
    link: usize,
    /// Where each symbol leads, in the order of symbols.
    next: Vec<(T, usize)>,
}

impl<T: Ord + Copy> State<T> {
    fn after(&self, symbol: T) -> Option<usize> {
        self.next.binary_search_by_key(&symbol, |edge| edge.0).ok().map(|at| self.next[at].1)
    }

    fn lead(&mut self, symbol: T, to: usize) {
        match self.next.binary_search_by_key(&symbol, |edge| edge.0) {
            Ok(at) => self.next[at].1 = to,
            Err(at) => self.next.insert(at, (symbol, to)),
        }
    }
}

impl<T: Ord + Copy> Longest<T> {
    /// Of a text, symbol by symbol.
    pub fn of(text: &[T]) -> Self {
        let mut automaton = Longest { states: vec![State { length: 0, link: 0, next: Vec::new() }] };
        text.iter().fold(0, |last, &symbol| automaton.extend(last, symbol));
        automaton
    }

    /// Adds a symbol behind all; `last` is the state of the whole text, and so is what is returned.
    fn extend(&mut self, last: usize, symbol: T) -> usize {
        let new = self.add(State { length: self.states[last].length + 1, link: 0, next: Vec::new() });
        let mut at = last;
        let known = loop {
            match self.states[at].after(symbol) {
                Some(known) => break known,
                None => self.states[at].lead(symbol, new),
            }
            if at == 0 {
                return new;
            }
            at = self.states[at].link;
        };
        let length = self.states[at].length + 1;
        if self.states[known].length == length {
            self.states[new].link = known;
            return new;
        }
        // Of the known state's stretches those up to this length end at one more place now: they get a state of their own.
        let State { link, ref next, .. } = self.states[known];
        let part = self.add(State { length, link, next: next.clone() });
        while self.states[at].after(symbol) == Some(known) {
            self.states[at].lead(symbol, part);
            if at == 0 {
                break;
            }
            at = self.states[at].link;
        }
        (self.states[known].link, self.states[new].link) = (part, part);
        new
    }

    fn add(&mut self, state: State<T>) -> usize {
        self.states.push(state);
        self.states.len() - 1
    }

    /// Length of the longest stretch that another text has too.
    pub fn shared_with(&self, other: &[T]) -> usize {
        let (mut at, mut length, mut most) = (0, 0, 0);
        for &symbol in other {
            loop {
                if let Some(next) = self.states[at].after(symbol) {
                    (at, length) = (next, length + 1);
                    break;
                }
                if at == 0 {
                    length = 0;
                    break;
                }
                at = self.states[at].link;
                length = self.states[at].length;
            }
            most = most.max(length);
        }
        most
    }
}
