//! The stack machine: from the instructions of a pickle to the values that they
//! build.
//!
//! Values lie in one list and refer to each other by their place there, so that
//! one that is referred to twice is kept once, and nothing nests in memory. An
//! instruction makes one value at most; what is built is therefore in
//! proportion to the bytes read.

use std::collections::HashMap;

use super::CodecError;

/// A value's place.
pub(super) type Id = usize;

/// A value; text and bytes are those of the pickle.
#[derive(Debug)]
pub(super) enum Node<'de> {
    None,
    Bool(bool),
    Integer(i128),
    /// One of those above.
    Natural(u128),
    Float(f64),
    Text(&'de str),
    Bytes(&'de [u8]),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
}

/// The value that a pickle builds.
#[derive(Debug)]
pub(super) struct Built<'de> {
    pub(super) nodes: Vec<Node<'de>>,
    pub(super) root: Id,
}

/// Carries out the instructions in `pickle`, all of them.
pub(super) fn run(pickle: &[u8]) -> Result<Built<'_>, CodecError> {
    let [0x80, 2..=5, instructions @ ..] = pickle else {
        return Err(CodecError::new("not a pickle of protocol 2 to 5"));
    };
    let mut machine = Machine { rest: instructions, ..Machine::default() };
    loop {
        let instruction = machine.take_byte()?;
        if instruction == b'.' {
            break;
        }
        machine.step(instruction)?;
    }
    match machine {
        Machine { rest: [], stack, marks, nodes, .. } if stack.len() == 1 && marks.is_empty() => {
            Ok(Built { nodes, root: stack[0] })
        }
        _ => Err(broken()),
    }
}

#[derive(Default)]
struct Machine<'de> {
    rest: &'de [u8],
    nodes: Vec<Node<'de>>,
    stack: Vec<Id>,
    /// The height of the stack at each mark that is still open.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

fn broken() -> CodecError {
    CodecError::new("the pickle is broken")
}

impl<'de> Machine<'de> {
    /// Carries out one instruction.
    fn step(&mut self, instruction: u8) -> Result<(), CodecError> {
        match instruction {
            // A frame: its length says nothing that is needed.
            0x95 => self.take(8).map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            0x94 | b'q' | b'r' | b'h' | b'j' => self.step_memo(instruction),
            b'a' | b'e' | 0x90 | b's' | b'u' => self.step_filling(instruction),
            _ => {
                let node = self.node(instruction)?;
                self.stack.push(self.nodes.len());
                self.nodes.push(node);
                Ok(())
            }
        }
    }

    /// Instructions that remember a value, or bring back one.
    fn step_memo(&mut self, instruction: u8) -> Result<(), CodecError> {
        let number = match instruction {
            b'q' | b'h' => u32::from(self.take_byte()?),
            b'r' | b'j' => self.take_u32()?,
            _ => u32::try_from(self.memo.len()).map_err(|_| broken())?,
        };
        if matches!(instruction, b'h' | b'j') {
            self.stack.push(*self.memo.get(&number).ok_or_else(broken)?);
        } else {
            let top = self.top()?;
            self.memo.insert(number, top);
        }
        Ok(())
    }

    /// Instructions that add to a list, a set or a dict.
    fn step_filling(&mut self, instruction: u8) -> Result<(), CodecError> {
        let added = match instruction {
            b'a' => self.pop_several(1)?,
            b's' => self.pop_several(2)?,
            _ => self.pop_to_mark()?,
        };
        let top = self.top()?;
        match (&mut self.nodes[top], instruction) {
            (Node::List(items), b'a' | b'e' | 0x90) => items.extend(added),
            (Node::Dict(pairs), b's' | b'u') if added.len().is_multiple_of(2) => {
                pairs.extend(added.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            _ => return Err(broken()),
        }
        Ok(())
    }

    /// The value that an instruction makes.
    fn node(&mut self, instruction: u8) -> Result<Node<'de>, CodecError> {
        Ok(match instruction {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'K' => Node::Integer(self.take_byte()?.into()),
            b'M' => Node::Integer(u16::from_le_bytes(self.take_array()?).into()),
            b'J' => Node::Integer(i32::from_le_bytes(self.take_array()?).into()),
            0x8a => {
                let length = self.take_byte()?;
                integer(self.take(length.into())?)?
            }
            b'G' => Node::Float(f64::from_be_bytes(self.take_array()?)),
            0x8c | b'X' | 0x8d => {
                let text = self.take_counted(instruction)?;
                Node::Text(std::str::from_utf8(text).map_err(CodecError::new)?)
            }
            b'C' | b'B' | 0x8e | 0x96 => Node::Bytes(self.take_counted(instruction)?),
            b']' | b')' | 0x8f => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            0x85 => Node::List(self.pop_several(1)?),
            0x86 => Node::List(self.pop_several(2)?),
            0x87 => Node::List(self.pop_several(3)?),
            b't' | 0x91 => Node::List(self.pop_to_mark()?),
            _ => return Err(CodecError::new("the pickle is of more than plain data")),
        })
    }

    /// Text or bytes behind their length, which is in one, four or eight bytes.
    fn take_counted(&mut self, instruction: u8) -> Result<&'de [u8], CodecError> {
        let length = match instruction {
            0x8c | b'C' => self.take_byte()?.into(),
            b'X' | b'B' => self.take_u32()?.into(),
            _ => u64::from_le_bytes(self.take_array()?),
        };
        self.take(usize::try_from(length).map_err(|_| broken())?)
    }

    fn take(&mut self, count: usize) -> Result<&'de [u8], CodecError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(broken)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(broken)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take_byte(&mut self) -> Result<u8, CodecError> {
        self.take_array().map(|[byte]| byte)
    }

    fn take_u32(&mut self) -> Result<u32, CodecError> {
        self.take_array().map(u32::from_le_bytes)
    }

    /// Returns where the part of the stack begins that lies above the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, CodecError> {
        self.stack[self.floor()..].last().copied().ok_or_else(broken)
    }

    fn pop(&mut self) -> Result<Id, CodecError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_several(&mut self, count: usize) -> Result<Vec<Id>, CodecError> {
        let from = self.stack.len().checked_sub(count).filter(|from| *from >= self.floor());
        Ok(self.stack.split_off(from.ok_or_else(broken)?))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, CodecError> {
        let mark = self.marks.pop().ok_or_else(broken)?;
        Ok(self.stack.split_off(mark))
    }
}

/// A number in two's complement, the lowest byte first.
fn integer(bytes: &[u8]) -> Result<Node<'_>, CodecError> {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut all = [if negative { 0xff } else { 0 }; 17];
    let space = all.get_mut(..bytes.len());
    let space = space.ok_or_else(|| CodecError::new("a number has more than 128 bits"))?;
    space.copy_from_slice(bytes);
    let (low, high) = all.split_at(16);
    let low = low.try_into().map_err(CodecError::new)?;
    let number = i128::from_le_bytes(low);
    match (high[0], number < 0) {
        (0, false) | (0xff, true) => Ok(Node::Integer(number)),
        (0, true) => Ok(Node::Natural(u128::from_le_bytes(low))),
        _ => Err(CodecError::new("a number has more than 128 bits")),
    }
}
