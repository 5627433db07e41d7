//! Container id and systemd unit, read from the control groups a process is in.
//!
//! Container runtimes differ in how they name the group, but all of them (docker, containerd, cri-o, podman,
//! with the systemd driver or without) put the container's 64-digit id into the name of one path segment.

/// What the control groups of a process say about where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Full id of the innermost container.
    pub container: Option<String>,
    /// The innermost systemd service or scope, e.g. `nginx.service`.
    pub unit: Option<String>,
}

impl Placement {
    /// Reads the text of `/proc/PID/cgroup`.
    pub fn parse(text: &str) -> Self {
        let groups = || text.lines().filter_map(Group::parse);
        // The unit is in the unified hierarchy or, before it, in systemd's own; other controllers' paths may lag.
        let systemd = groups().filter(|g| g.is_unified || g.controllers == "name=systemd");
        Self {
            container: groups().find_map(|g| g.path.rsplit('/').find_map(container_id)).map(str::to_owned),
            unit: systemd.into_iter().find_map(|g| unit(g.path)).map(str::to_owned),
        }
    }
}

/// One line of `/proc/PID/cgroup`: `hierarchy:controllers:path`.
struct Group<'a> {
    is_unified: bool,
    controllers: &'a str,
    path: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { is_unified: hierarchy == "0", controllers, path })
    }
}

const ID_LENGTH: usize = 64;

/// `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>`, `libpod-payload-<id>`, `…:cri-containerd:<id>`, `<id>`.
fn container_id(segment: &str) -> Option<&str> {
    // The monitor runs beside the container, on the host.
    if segment.contains("conmon") {
        return None;
    }
    segment
        .split(['-', '.', ':'])
        .find(|part| part.len() == ID_LENGTH && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

fn unit(path: &str) -> Option<&str> {
    path.rsplit('/').find(|segment| {
        (segment.ends_with(".service") || segment.ends_with(".scope")) && container_id(segment).is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9c0d1e4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1";

    fn check(shape: &str, container: bool, unit: Option<&str>) {
        let placement = Placement::parse(&shape.replace("ID", ID));
        assert_eq!(placement.container.as_deref(), container.then_some(ID), "{shape}");
        assert_eq!(placement.unit.as_deref(), unit, "{shape}");
    }

    #[test]
    fn container_shapes() {
        check("0::/system.slice/docker-ID.scope", true, None);
        check("0::/docker/ID", true, None);
        check("12:memory:/docker/ID\n1:name=systemd:/docker/ID", true, None);
        check(
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-ID.scope",
            true,
            None,
        );
        check("0::/kubepods/besteffort/pod0a1b-2c3d/ID", true, None);
        check("0::/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", true, None);
        check("0::/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container", true, None);
        check("0::/machine.slice/libpod-ID.scope/container", true, None);
        check(
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            true,
            Some("user@1000.service"),
        );
        check("0::/system.slice/web.service/libpod-payload-ID", true, Some("web.service"));
        check(
            "1:name=systemd:/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:ID",
            true,
            Some("containerd.service"),
        );
        check("0::/default/ID", true, None);
    }

    #[test]
    fn a_container_in_a_container_is_the_inner_one() {
        let outer = ID.replace('3', "4");
        check(&format!("0::/docker/{outer}/docker/ID"), true, None);
    }

    #[test]
    fn host_shapes() {
        check("0::/system.slice/nginx.service", false, Some("nginx.service"));
        check("0::/system.slice/system-getty.slice/getty@tty1.service", false, Some("getty@tty1.service"));
        check("0::/user.slice/user-1000.slice/session-3.scope", false, Some("session-3.scope"));
        check(
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.service",
            false,
            Some("app-x.service"),
        );
        check("4:memory:/wrong.service\n1:name=systemd:/init.scope\n0::/", false, Some("init.scope"));
        check(
            "0::/machine.slice/libpod-conmon-ID.scope",
            false,
            Some("libpod-conmon-ID.scope").map(|_| CONMON),
        );
        check("0::/", false, None);
        check("0::/system.slice", false, None);
    }

    const CONMON: &str =
        "libpod-conmon-3f2a9c0d1e4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1.scope";

    #[test]
    fn nonsense_is_nowhere() {
        for text in ["", "x", "::", "0:", "a:b", "0::", "\n\n", "0::/ABCDEF", "0::/0123456789abcdef"] {
            assert_eq!(Placement::parse(text), Placement::default(), "{text:?}");
        }
    }
}
