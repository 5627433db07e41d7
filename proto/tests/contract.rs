//! The contract does not change by accident: every field, number, type and call is pinned in `contract.txt`.

#![allow(clippy::unwrap_used, reason = "a test asserts by panicking")]

use protox::prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};
use std::collections::BTreeSet;
use std::path::Path;

fn pool() -> DescriptorPool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let files = protox::compile(["keymoat/v1/collector.proto", "keymoat/v1/event.proto"], [root]).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap()
}

fn message(lines: &mut BTreeSet<String>, message: &MessageDescriptor) {
    for field in message.fields() {
        let kind = match field.kind() {
            Kind::Message(message) => message.full_name().to_owned(),
            Kind::Enum(of) => of.full_name().to_owned(),
            scalar => format!("{scalar:?}").to_lowercase(),
        };
        let cardinality = match field.cardinality() {
            Cardinality::Repeated => "repeated ",
            _ if field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic()) => "oneof ",
            _ if field.supports_presence() && !matches!(field.kind(), Kind::Message(_)) => "optional ",
            _ => "",
        };
        lines.insert(format!("{} = {} {cardinality}{kind}", field.full_name(), field.number()));
    }
    for name in message.reserved_names() {
        lines.insert(format!("{} reserved {name}", message.full_name()));
    }
}

fn enumeration(lines: &mut BTreeSet<String>, of: &EnumDescriptor) {
    for value in of.values() {
        lines.insert(format!("{}.{} = {}", of.full_name(), value.name(), value.number()));
    }
}

fn service(lines: &mut BTreeSet<String>, service: &ServiceDescriptor) {
    let stream = |streams| if streams { "stream " } else { "" };
    for call in service.methods() {
        let (input, output) = (call.input(), call.output());
        let (up, down) = (stream(call.is_client_streaming()), stream(call.is_server_streaming()));
        let arrow = format!("({up}{}) -> ({down}{})", input.full_name(), output.full_name());
        lines.insert(format!("{} {arrow}", call.full_name()));
    }
}

#[test]
fn nothing_changed_unnoticed() {
    let pool = pool();
    let mut lines = BTreeSet::new();
    pool.all_messages().for_each(|of| message(&mut lines, &of));
    pool.all_enums().for_each(|of| enumeration(&mut lines, &of));
    pool.services().for_each(|of| service(&mut lines, &of));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contract.txt");
    let pinned: BTreeSet<String> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .filter(|line| !line.is_empty())
        .collect();
    let gone: Vec<_> = pinned.difference(&lines).map(|line| format!("- {line}")).collect();
    let new: Vec<_> = lines.difference(&pinned).map(|line| format!("+ {line}")).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "the contract differs from contract.txt. Agents and collectors of other versions are out there: add fields \
         with new numbers (and their lines to contract.txt); never change, reuse or remove one.\n{}\n{}",
        gone.join("\n"),
        new.join("\n")
    );
}

#[test]
fn everything_is_documented() {
    let undocumented: Vec<String> = pool()
        .files()
        .flat_map(|file| {
            let proto = file.file_descriptor_proto().clone();
            let name = proto.name().to_owned();
            let described = proto.source_code_info.unwrap_or_default().location;
            let named = move |path: &[i32]| {
                // 4 message, 5 enum, 6 service of a file; 2 field, value or call of those.
                matches!(path, [4..=6, _] | [4..=6, _, 2, _])
            };
            let bare = described
                .into_iter()
                .filter(move |at| named(&at.path) && at.leading_comments().trim().is_empty())
                .map(move |at| format!("{name}:{}", at.span.first().copied().unwrap_or_default() + 1));
            bare.collect::<Vec<_>>()
        })
        .collect();
    assert!(undocumented.is_empty(), "without a comment: {undocumented:?}");
}

#[test]
fn no_field_can_hold_a_raw_secret() {
    let pool = pool();
    let secret = pool.get_message_by_name("keymoat.v1.SecretRef").unwrap();
    let fields: Vec<String> = secret.fields().map(|field| field.name().to_owned()).collect();
    assert_eq!(fields, ["fingerprint", "redacted", "length"]);
    for message in pool.all_messages() {
        for field in message.fields() {
            assert_ne!(field.kind(), Kind::Bytes, "{}", field.full_name());
            for word in ["raw", "plain", "payload", "content", "password", "token", "value"] {
                let map_entry = message.is_map_entry();
                assert!(map_entry || !field.name().contains(word), "{}", field.full_name());
            }
        }
    }
}
