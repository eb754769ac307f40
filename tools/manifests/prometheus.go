package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// checkPrometheus reads a configuration of Prometheus with `promtool`, and the rules that it names.
func checkPrometheus(path string) (string, []string) {
	said, err := promtool(filepath.Dir(path), "check", "config", filepath.Base(path))
	if err != nil {
		return "", []string{said}
	}
	// a pattern that matches no file is no fault for promtool
	if !strings.Contains(said, "rules found") {
		return "", []string{"no rules are found: " + said}
	}
	return "valid", nil
}

// checkRules reads the rules of Prometheus in a folder with `promtool`, and runs their tests. Each file NAME.rules.yml has its tests in
// NAME.test.yml.
func checkRules(folder string) (string, []string) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.rules.yml"))
	if err != nil || len(paths) == 0 {
		return "", []string{fmt.Sprintf("no rules: %v", err)}
	}
	var faults []string
	for _, path := range paths {
		rules := filepath.Base(path)
		tests := strings.TrimSuffix(rules, ".rules.yml") + ".test.yml"
		if _, err := os.Stat(filepath.Join(folder, tests)); err != nil {
			faults = append(faults, err.Error())
			continue
		}
		for _, arguments := range [][]string{{"check", "rules", rules}, {"test", "rules", tests}} {
			if said, err := promtool(folder, arguments...); err != nil {
				faults = append(faults, said)
			}
		}
	}
	return fmt.Sprintf("%d files of rules, tested", len(paths)), faults
}

// promtool runs `promtool` in a folder. It returns what it says, and an error if it found a fault.
func promtool(folder string, arguments ...string) (string, error) {
	command := exec.Command("promtool", arguments...)
	command.Dir = folder
	said, err := command.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("promtool: %s: %s", err, strings.TrimSpace(string(said))), err
	}
	return string(said), nil
}
