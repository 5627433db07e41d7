//! Bodies made of others: a form of parts, gRPC messages one after the other, the objects of a git push.

use super::Part;
use super::git_pack::{self, GitPush};
use super::grpc::Grpc;
use super::limit::Stopped;
use super::multipart::{Multipart, Segment};

/// A body made of others, under way.
#[derive(Debug)]
pub enum Compound {
    Form(Box<Multipart>),
    Grpc(Box<Grpc>),
    Push(Box<GitPush>),
}

/// What bytes of a compound body are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// No element: what stands around the parts, or follows damage.
    None,
    /// A part of a form, its header lines included, by the form's name for it.
    Part(Option<&'a [u8]>),
    Message,
    Object(git_pack::Kind),
}

/// Takes elements as they pass. A [`Element::None`] ends where another one begins.
pub type Out<'a> = &'a mut dyn FnMut(Element<'_>, Part, &[u8]);

impl Compound {
    /// None: the Content-Type is not one of a body made of others. `grpc_encoding` is the header field of that name.
    pub fn announced(content_type: &[u8], grpc_encoding: Option<&[u8]>) -> Option<Self> {
        let form = || Multipart::announced(content_type).map(|form| Self::Form(Box::new(form)));
        let grpc = || Grpc::announced(content_type, grpc_encoding).map(|grpc| Self::Grpc(Box::new(grpc)));
        let push = || GitPush::announced(content_type).map(|push| Self::Push(Box::new(push)));
        form().or_else(grpc).or_else(push)
    }

    /// Takes the next bytes of the body. An error says that something of it was not decoded to its end.
    pub fn push(&mut self, bytes: &[u8], out: Out<'_>) -> Result<(), Stopped> {
        match self {
            Self::Form(form) => {
                form.push(bytes, &mut |segment| of_form(segment, out));
                Ok(())
            }
            Self::Grpc(grpc) => grpc.push(bytes, &mut |part, bytes| out(Element::Message, part, bytes)),
            Self::Push(push) => push.push(bytes, &mut |kind, part, bytes| of_push(kind, part, bytes, out)),
        }
    }

    /// The body is over: hands out what is held back.
    pub fn finish(&mut self, out: Out<'_>) -> Result<(), Stopped> {
        match self {
            Self::Form(form) => {
                form.finish(&mut |segment| of_form(segment, out));
                Ok(())
            }
            Self::Grpc(grpc) => grpc.finish(&mut |part, bytes| out(Element::Message, part, bytes)),
            Self::Push(push) => push.finish(&mut |kind, part, bytes| of_push(kind, part, bytes, out)),
        }
    }

    /// Bytes of memory in use, about.
    pub fn buffered(&self) -> usize {
        match self {
            Self::Form(form) => form.buffered(),
            Self::Grpc(grpc) => grpc.buffered(),
            Self::Push(push) => push.buffered(),
        }
    }
}

fn of_form(segment: Segment<'_>, out: Out<'_>) {
    match segment {
        Segment::Head(head) => out(Element::Part(head.name), Part::Whole, head.bytes),
        Segment::Body { name, part, bytes } => out(Element::Part(name), part, bytes),
        Segment::Plain(bytes) => out(Element::None, Part::More, bytes),
    }
}

fn of_push(kind: git_pack::Kind, part: Part, bytes: &[u8], out: Out<'_>) {
    let element = if kind == git_pack::Kind::Unknown { Element::None } else { Element::Object(kind) };
    out(element, part, bytes);
}

impl Element<'_> {
    /// Its step in a location. `shown` takes out what must not be shown of a name the sender chose.
    pub fn step(&self, shown: impl Fn(&[u8]) -> String) -> Option<String> {
        match self {
            Self::None => None,
            Self::Part(None) => Some("part".to_owned()),
            Self::Part(Some(name)) => Some(format!("part:{}", shown(name))),
            Self::Message => Some("grpc".to_owned()),
            Self::Object(kind) => Some(format!("git:{}", kind.name())),
        }
    }
}
