package main

import (
	"fmt"
	"os/exec"
	"strings"
)

// checkPrometheus reads a configuration of Prometheus with `promtool`.
func checkPrometheus(path string) (string, []string) {
	said, err := exec.Command("promtool", "check", "config", path).CombinedOutput()
	if err != nil {
		return "", []string{fmt.Sprintf("promtool: %s: %s", err, strings.TrimSpace(string(said)))}
	}
	return "valid", nil
}
