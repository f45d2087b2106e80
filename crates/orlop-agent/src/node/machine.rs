//! What the machine is called and what it has.

use super::NodeError;
use orlop_client::NoHostName;
use orlop_model::{Cpu, Memory, NodeName, Resources};

/// The machine's host name, as a node's.
pub(crate) fn host_name() -> Result<NodeName, NodeError> {
    orlop_client::host_name().map_err(|NoHostName { found, problem }| NodeError::HostName { found, problem })
}

/// Cpu and memory of the machine, or of the cgroup that the agent is confined to, less the reserve.
pub(crate) fn capacity(reserve: &Resources) -> Result<(Cpu, Memory), NodeError> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let cpu = Cpu(cores * 1000);
    let text = std::fs::read_to_string("/proc/meminfo").map_err(|e| NodeError::Memory { problem: e.to_string() })?;
    let total = mem_total(&text).ok_or_else(|| NodeError::Memory { problem: "no MemTotal line".into() })?;
    let confined = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
        .fold(total, u64::min);
    let memory = Memory(confined);
    let (kept_cpu, kept_memory) = (reserve.cpu.unwrap_or_default(), reserve.memory.unwrap_or_default());
    if kept_cpu >= cpu {
        let (reserved, found) = (kept_cpu.to_string(), cpu.to_string());
        return Err(NodeError::Reserve { resource: "cpu", reserved, found });
    }
    if kept_memory >= memory {
        let (reserved, found) = (kept_memory.to_string(), memory.to_string());
        return Err(NodeError::Reserve { resource: "memory", reserved, found });
    }
    Ok((Cpu(cpu.0 - kept_cpu.0), Memory(memory.0 - kept_memory.0)))
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_measured_and_the_reserve_kept() {
        assert_eq!(mem_total("Foo: 1 kB\nMemTotal:       16384 kB\n"), Some(16 << 20));
        assert_eq!(mem_total("MemFree: 1 kB\n"), None);
        let (cpu, memory) = capacity(&Resources::default()).expect("this machine");
        assert!(cpu.0 >= 1000 && memory.0 > 1 << 20);
        let reserve = Resources { cpu: Some(Cpu(100)), memory: Some(Memory(1 << 20)) };
        assert_eq!(capacity(&reserve).expect("the rest"), (Cpu(cpu.0 - 100), Memory(memory.0 - (1 << 20))));
        let all = Resources { cpu: None, memory: Some(memory) };
        assert!(matches!(capacity(&all), Err(NodeError::Reserve { resource: "memory", .. })));
    }
}
