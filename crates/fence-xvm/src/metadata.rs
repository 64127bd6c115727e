//! The agent's metadata, as cluster software reads it (fence-agents' XML).

use core::fmt::Write;

use crate::options::{self, OptionSpec, Shown};
use crate::role::Role;
use crate::value::Command;

/// The XML document. Parameters, types, defaults and marks come from the table of options.
#[must_use]
pub fn metadata(role: Role) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" ?>\n");
    let name = role.name();
    xml.push_str(&format!(
        "<resource-agent name=\"{name}\" shortdesc=\"Fencing of virtual machines by their hosts\">\n"
    ));
    xml.push_str(&format!(
        "<longdesc>{}</longdesc>\n",
        escape(&longdesc(role))
    ));
    xml.push_str("<vendor-url>https://libvirt.org</vendor-url>\n<parameters>\n");
    for spec in options::for_role(role) {
        parameter(&mut xml, spec);
    }
    xml.push_str("</parameters>\n<actions>\n");
    for (action, _) in Command::NAMES {
        // Said of what could be automatic: "on" of a node that joins is unfencing.
        let automatic = if action == "on" {
            " automatic=\"0\""
        } else {
            ""
        };
        xml.push_str(&format!("\t<action name=\"{action}\"{automatic} />\n"));
    }
    xml.push_str("</actions>\n</resource-agent>\n");
    xml
}

/// What the agent is, in a few sentences; also in its manual.
pub(crate) fn longdesc(role: Role) -> String {
    let way = match role {
        Role::Xvm => "It asks the hosts by multicast, and the host that answers calls back.",
        Role::Virt => "It asks its host over a serial device, a VM channel, TCP or vsock.",
    };
    format!(
        "{} asks the physical hosts to fence a virtual machine; fence_virtd answers there. {way}",
        role.name()
    )
}

fn parameter(xml: &mut String, spec: &OptionSpec) {
    let (required, mark) = match spec.shown {
        Shown::Everywhere {
            required,
            obsoletes: None,
        } => (required, String::new()),
        Shown::Everywhere {
            required,
            obsoletes: Some(other),
        } => (required, format!(" obsoletes=\"{other}\"")),
        Shown::Deprecated { required } => (required, " deprecated=\"1\"".to_owned()),
        Shown::CommandLine | Shown::Nowhere => return,
    };
    let name = spec.name;
    let required = u8::from(required);
    let getopt = spec
        .letters
        .first()
        .map_or_else(String::new, |letter| format!("-{letter}"));
    let content = spec.content.name();
    let default = spec.default.map_or_else(String::new, |default| {
        format!(" default=\"{}\"", escape(default))
    });
    let choices: String = spec
        .content
        .choices()
        .iter()
        .map(|choice| format!("\t\t\t<option value=\"{choice}\" />\n"))
        .collect();
    let content = if choices.is_empty() {
        format!("<content type=\"{content}\"{default} />")
    } else {
        format!("<content type=\"{content}\"{default}>\n{choices}\t\t</content>")
    };
    // Writing to a String cannot fail.
    let _ = write!(
        xml,
        "\t<parameter name=\"{name}\" unique=\"0\" required=\"{required}\"{mark}>\n\
         \t\t<getopt mixed=\"{getopt}\" />\n\
         \t\t{content}\n\
         \t\t<shortdesc lang=\"en\">{}</shortdesc>\n\
         \t</parameter>\n",
        escape(spec.help)
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
