// Manifests reads the files with which footprint is packaged, as strictly as the programs that use them: the Containerfile, the
// compose file, the systemd unit, the Kubernetes manifests, the configuration and the rules of Prometheus and the Grafana dashboards. It
// prints one line for each file, and one for each fault.
//
//	go run . [ROOT]
//
// ROOT is the repository's root. It needs systemd-analyze and promtool, Debian's packages systemd and prometheus. The exit status is 1
// if there is a fault.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// A check reads one file. It returns what the file holds, in a few words, and its faults.
type check func(path string) (holds string, faults []string)

// A group of files that are read in the same way. If a group needs its files, having none is a fault.
type group struct {
	pattern string
	needed  bool
	check   check
}

var groups = []group{
	{"packaging/Containerfile", true, checkContainerfile},
	{"packaging/compose.yml", true, checkCompose},
	{"packaging/footprint.service", true, checkUnit},
	{"packaging/prometheus.yml", true, checkPrometheus},
	{"packaging/prometheus", true, checkRules},
	{"packaging/kubernetes", true, checkKubernetes},
	{"grafana/dashboards/*.json", false, checkDashboard},
}

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	faults := 0
	for _, group := range groups {
		paths, err := filepath.Glob(filepath.Join(root, group.pattern))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if len(paths) == 0 {
			fmt.Printf("%s: 0 files\n", group.pattern)
			if group.needed {
				faults++
			}
		}
		for _, path := range paths {
			holds, found := group.check(path)
			fmt.Printf("%s: %s\n", path, holds)
			for _, fault := range found {
				fmt.Printf("FAULT %s: %s\n", path, fault)
			}
			faults += len(found)
		}
	}
	if faults > 0 {
		fmt.Printf("%d faults\n", faults)
		os.Exit(1)
	}
}
