//! What pacemaker says about the cluster (`crm_mon --output-as=xml`).

use fence_lab::Failure;
use roxmltree::{Document, Node};

/// A fencing in pacemaker's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fencing {
    /// What was to be done.
    pub(crate) action: String,
    /// To which node.
    pub(crate) target: String,
    /// `success`, `failed`, `pending`.
    pub(crate) status: String,
}

/// What one node says.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The nodes that are online and not in doubt.
    pub(crate) online: Vec<String>,
    /// The nodes that are to be fenced.
    pub(crate) unclean: Vec<String>,
    /// Every running resource with its node.
    pub(crate) running: Vec<(String, String)>,
    /// Fencings, the latest first.
    pub(crate) fencings: Vec<Fencing>,
}

impl View {
    /// Reads what `crm_mon` says.
    pub(crate) fn parse(xml: &str) -> Result<Self, Failure> {
        let document = Document::parse(xml)?;
        let mut view = Self::default();
        for node in children(&document, "nodes", "node") {
            let name = attribute(node, "name");
            let is = |what| attribute(node, what) == "true";
            if is("unclean") {
                view.unclean.push(name);
            } else if is("online") && !is("pending") {
                view.online.push(name);
            }
        }
        for resource in children(&document, "resources", "resource") {
            let place = resource
                .children()
                .find(|child| child.has_tag_name("node"))
                .map(|node| attribute(node, "name"));
            if attribute(resource, "role") == "Started"
                && attribute(resource, "failed") != "true"
                && let Some(place) = place
            {
                view.running.push((attribute(resource, "id"), place));
            }
        }
        for event in children(&document, "fence_history", "fence_event") {
            view.fencings.push(Fencing {
                action: attribute(event, "action"),
                target: attribute(event, "target"),
                status: attribute(event, "status"),
            });
        }
        Ok(view)
    }

    /// Where a resource runs.
    pub(crate) fn place(&self, resource: &str) -> Option<&str> {
        let mut running = self.running.iter();
        let found = running.find(|(name, _)| name == resource);
        found.map(|(_, place)| place.as_str())
    }

    /// How many fencings of a node ended like this.
    pub(crate) fn count(&self, target: &str, status: &str) -> usize {
        self.fencings
            .iter()
            .filter(|fencing| fencing.target == target && fencing.status == status)
            .count()
    }
}

fn children<'a>(document: &'a Document<'_>, parent: &str, name: &str) -> Vec<Node<'a, 'a>> {
    let parent = document
        .root_element()
        .children()
        .find(|child| child.has_tag_name(parent));
    let children = parent.into_iter().flat_map(|parent| parent.children());
    children.filter(|child| child.has_tag_name(name)).collect()
}

fn attribute(node: Node<'_, '_>, name: &str) -> String {
    node.attribute(name).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_and_stopped_resources_do_not_run() {
        let view = View::parse(
            r#"<pacemaker-result><nodes><node name="alpha" online="true" unclean="false" pending="false"/>
            <node name="beta" online="true" unclean="true"/><node name="gamma" online="false"/></nodes>
            <resources><resource id="a" role="Started" failed="false"><node name="alpha"/></resource>
            <resource id="b" role="Started" failed="true"><node name="beta"/></resource>
            <resource id="c" role="Stopped" failed="false"/></resources>
            <fence_history><fence_event action="off" target="beta" status="failed"/></fence_history></pacemaker-result>"#,
        )
        .unwrap();
        assert_eq!(view.online, ["alpha"]);
        assert_eq!(view.unclean, ["beta"]);
        assert_eq!(view.place("a"), Some("alpha"));
        assert_eq!((view.place("b"), view.place("c")), (None, None));
        assert_eq!(
            (view.count("beta", "failed"), view.count("beta", "success")),
            (1, 0)
        );
    }
}
