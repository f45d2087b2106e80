//! What the protos promised once they keep: versions N and N+1 run side by side, and what N wrote to disk N+1 reads.
//!
//! Each line of `golden/promises.txt` is one promise: a field with its number and type, a value of an enum, a method with
//! its messages. New ones are taken into it with `UPDATE_GOLDEN=1`, which never takes one out: whoever means to break a
//! promise that no release has made yet removes its line by hand.

use orlop_proto::DESCRIPTORS;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Every promise of some protos, one line each.
fn promises(protos: &FileDescriptorSet) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in &protos.file {
        let package = file.package();
        file.message_type.iter().for_each(|message| of_message(package, message, &mut found));
        file.enum_type.iter().for_each(|kind| of_enum(package, kind, &mut found));
        for service in &file.service {
            for method in &service.method {
                let side = |streams, message: &str| format!("{}{message}", if streams { "stream " } else { "" });
                let (input, output) = (
                    side(method.client_streaming(), method.input_type()),
                    side(method.server_streaming(), method.output_type()),
                );
                found.insert(format!("method {package}.{}/{} ({input}) ({output})", service.name(), method.name()));
            }
        }
    }
    found
}

fn of_message(outer: &str, message: &DescriptorProto, found: &mut BTreeSet<String>) {
    let name = format!("{outer}.{}", message.name());
    for field in &message.field {
        let oneof = field.oneof_index.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
        let within = match oneof {
            Some(oneof) if !field.proto3_optional() => format!(" in {}", oneof.name()),
            _ => String::new(),
        };
        found.insert(format!("field {name} {} {} {}{within}", field.number(), field.name(), type_of(field)));
    }
    message.nested_type.iter().for_each(|inner| of_message(&name, inner, found));
    message.enum_type.iter().for_each(|kind| of_enum(&name, kind, found));
}

fn of_enum(outer: &str, kind: &EnumDescriptorProto, found: &mut BTreeSet<String>) {
    for value in &kind.value {
        found.insert(format!("value {outer}.{} {} {}", kind.name(), value.number(), value.name()));
    }
}

fn type_of(field: &FieldDescriptorProto) -> String {
    let label = match field.label() {
        Label::Repeated => "repeated ",
        _ if field.proto3_optional() => "optional ",
        _ => "",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    format!("{label}{kind}")
}

fn protos() -> FileDescriptorSet {
    FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors")
}

#[test]
fn no_promise_is_broken_and_every_new_one_is_noted() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/promises.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let before: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let now = promises(&protos());
    let broken: Vec<&String> = before.difference(&now).collect();
    assert!(broken.is_empty(), "peers and disks of other versions have these, and they are gone:\n{broken:#?}");
    let new: Vec<&String> = now.difference(&before).collect();
    if !new.is_empty() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        let lines: Vec<&str> = now.iter().map(String::as_str).collect();
        std::fs::write(&path, lines.join("\n") + "\n").expect("the promises are written");
    } else {
        assert!(new.is_empty(), "UPDATE_GOLDEN=1 notes these in {}:\n{new:#?}", path.display());
    }
}

#[test]
fn whatever_breaks_a_promise_is_seen() {
    let before = promises(&protos());
    assert!(before.len() > 500, "only {} promises", before.len());
    let index = protos().file.iter().position(|file| file.package() == "orlop.operator.v1").expect("a file");
    type Change = fn(&mut prost_types::FileDescriptorProto);
    let changes: [(&str, Change); 8] = [
        ("a field is removed", |file| drop(file.message_type[0].field.remove(0))),
        ("a field is renumbered", |file| file.message_type[0].field[0].number = Some(99)),
        ("a field is retyped", |file| file.message_type[0].field[0].set_type(Type::Bytes)),
        ("a field becomes a list", |file| file.message_type[0].field[0].set_label(Label::Repeated)),
        ("a message is removed", |file| drop(file.message_type.remove(0))),
        ("a value is renumbered", |file| file.enum_type[0].value[1].number = Some(99)),
        ("a method is removed", |file| drop(file.service[0].method.remove(0))),
        ("a method streams", |file| file.service[0].method[0].server_streaming = Some(true)),
    ];
    for (what, change) in changes {
        let mut protos = protos();
        change(&mut protos.file[index]);
        assert!(!before.is_subset(&promises(&protos)), "{what}, and nobody saw it");
    }
    let mut protos = protos();
    let mut added = protos.file[index].message_type[0].field[0].clone();
    (added.name, added.number) = (Some("added".into()), Some(99));
    protos.file[index].message_type[0].field.push(added);
    assert!(before.is_subset(&promises(&protos)), "what is added breaks nothing");
}
