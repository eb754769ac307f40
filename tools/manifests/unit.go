package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Where systemd keeps the units that others refer to, such as sysinit.target.
const systemUnits = "usr/lib/systemd/system"

// How exposed the service may be, in tenths, as `systemd-analyze security` counts.
const exposureMax = "15"

// Settings that systemd 254 brought. Debian 12 has 252, which ignores them, and says so.
var newSettings = []string{
	"Unknown key 'RestartSteps' in section [Service], ignoring.",
	"Unknown key 'RestartMaxDelaySec' in section [Service], ignoring.",
}

// checkUnit reads a unit with `systemd-analyze verify` and judges it with `systemd-analyze security`. No systemd runs for that: the
// unit is put below another root, beside the units of this machine and an empty program in place of footprint. So the settings are
// read as systemd reads them, and nothing is started.
func checkUnit(path string) (string, []string) {
	root, err := os.MkdirTemp("", "unit")
	if err != nil {
		return "", []string{err.Error()}
	}
	defer os.RemoveAll(root)
	name := filepath.Base(path)
	if err := layRoot(root, path, name); err != nil {
		return "", []string{err.Error()}
	}

	var faults []string
	said, err := exec.Command("systemd-analyze", "verify", "--man=no", "--root="+root, "/etc/systemd/system/"+name).CombinedOutput()
	for _, line := range strings.Split(strings.TrimSpace(string(said)), "\n") {
		isNew := false
		for _, setting := range newSettings {
			isNew = isNew || strings.HasSuffix(line, setting)
		}
		if line != "" && !isNew {
			faults = append(faults, strings.TrimPrefix(line, root))
		}
	}
	if err != nil && len(faults) == 0 {
		faults = append(faults, fmt.Sprintf("systemd-analyze verify: %s", err))
	}
	if len(faults) > 0 {
		return "", faults
	}
	judged := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+exposureMax, "--root="+root, name)
	said, err = judged.Output()
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	verdict := strings.TrimPrefix(lines[len(lines)-1], "→ ")
	if err != nil {
		faults = append(faults, fmt.Sprintf("%s: more than %s tenths", verdict, exposureMax))
	}
	return verdict, faults
}

// layRoot makes a root with the unit, the units of this machine, and a program that does nothing.
func layRoot(root, unit, name string) error {
	text, err := os.ReadFile(unit)
	if err != nil {
		return err
	}
	for _, folder := range []string{"etc/systemd/system", "usr/local/bin", systemUnits} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/systemd/system", name), text, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "usr/local/bin/footprint"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(root, systemUnits), os.DirFS(filepath.Join("/", systemUnits)))
}
