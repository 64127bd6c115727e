//! What the figures depend on: the machine and what else it does.

use std::fs;

/// The machine at the start of the run.
#[derive(Debug)]
pub(crate) struct Machine {
    ticks: Ticks,
    load: String,
}

/// Processor time since the machine started, in clock ticks.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    all: u64,
    steal: u64,
}

impl Machine {
    /// Looks at it now.
    pub(crate) fn observe() -> Self {
        Self {
            ticks: Ticks::now(),
            load: load(),
        }
    }

    /// What is to be said about it, at the end of the run.
    pub(crate) fn describe(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = read("/proc/sys/kernel/osrelease");
        let now = Ticks::now();
        let all = now.all.saturating_sub(self.ticks.all).max(1);
        let steal = now.steal.saturating_sub(self.ticks.steal) * 1000 / all;
        format!(
            "{cores} cores ({model}), Linux {kernel}. Load average over one minute: {before} \
             before the run, {after} after it; {whole}.{tenth} % of the processors' time was stolen \
             by the hypervisor.",
            model = processor(),
            before = self.load,
            after = load(),
            whole = steal / 10,
            tenth = steal % 10,
        )
    }
}

impl Ticks {
    fn now() -> Self {
        let text = read("/proc/stat");
        // "cpu", then user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)).
        let fields: Vec<u64> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        Self {
            all: fields.iter().sum(),
            steal: fields.get(7).copied().unwrap_or(0),
        }
    }
}

fn load() -> String {
    let text = read("/proc/loadavg");
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

fn processor() -> String {
    read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']))
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}
