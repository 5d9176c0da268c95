"""The eBPF datapath: loader, layout and the effector over its maps."""
