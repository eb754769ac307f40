package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const packaging = "../../packaging"

// A change to a packaged file, and a word of the fault that it must bring.
type damage struct {
	name, from, to, fault string
}

// refuses damages a file in each way, one at a time, and expects the fault. The undamaged file must have none.
func refuses(t *testing.T, check check, file string, damages []damage) {
	t.Helper()
	whole, err := os.ReadFile(filepath.Join(packaging, file))
	if err != nil {
		t.Fatal(err)
	}
	judge := func(text string) []string {
		// a file's own folder: what it refers to is beside it
		folder := t.TempDir()
		if err := os.CopyFS(filepath.Join(folder, "packaging"), os.DirFS(packaging)); err != nil {
			t.Fatal(err)
		}
		for _, mounted := range []string{"grafana/provisioning", "grafana/dashboards"} {
			if err := os.MkdirAll(filepath.Join(folder, mounted), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(folder, "packaging", file)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if folder := filepath.Dir(file); folder == "kubernetes" || folder == "prometheus" {
			path = filepath.Dir(path)
		}
		_, faults := check(path)
		return faults
	}
	if faults := judge(string(whole)); len(faults) > 0 {
		t.Errorf("%s as it is: %v", file, faults)
	}
	for _, damage := range damages {
		t.Run(damage.name, func(t *testing.T) {
			if !strings.Contains(string(whole), damage.from) {
				t.Fatalf("%s does not hold %q", file, damage.from)
			}
			faults := judge(strings.Replace(string(whole), damage.from, damage.to, 1))
			if all := strings.Join(faults, "\n"); !strings.Contains(all, damage.fault) {
				t.Errorf("%q is not among the faults: %q", damage.fault, all)
			}
		})
	}
}

func TestContainerfile(t *testing.T) {
	refuses(t, checkContainerfile, "Containerfile", []damage{
		{"an unknown instruction", "EXPOSE 9464", "EXPOSED 9464", "unknown instruction: EXPOSED"},
		{"an unknown flag", "--from=build", "--form=build", "unknown flag: --form"},
		{"a lower-case as", "AS build", "as build", "FromAsCasing"},
		{"no fixed version", ":1.95.0-bookworm", "", "library/rust has no fixed tag"},
		{"root", "USER 65532:65532", "USER 0", `the user of the last stage is "0"`},
		{"a shell's health check", `CMD ["/usr/local/bin/footprint", "health"]`, "CMD footprint health", "no HEALTHCHECK"},
		{"a shell's entry point", `ENTRYPOINT ["/usr/local/bin/footprint"]`, "ENTRYPOINT footprint", "no ENTRYPOINT"},
	})
}

func TestCompose(t *testing.T) {
	refuses(t, checkCompose, "compose.yml", []damage{
		{"an unknown key", "read_only: true", "readonly: true", "readonly"},
		{"a value of the wrong type", "read_only: true", "read_only: [yes]", "read_only"},
		{"an unknown service", "topic: { condition", "topics: { condition", "topics"},
		{"an unknown volume", "[postgres:/var/lib/postgresql]", "[pg:/var/lib/postgresql]", "undefined volume pg"},
		{"an unknown secret", "secrets: [postgres_password]", "secrets: [password]", "undefined secret password"},
		{"a port for everybody", "127.0.0.1:9464:9464", "9464:9464", "must be on 127.0.0.1"},
		{"no memory limit", "    mem_limit: 2g\n", "", "clickhouse: no mem_limit"},
		{"no fixed version", "clickhouse-server:26.7", "clickhouse-server", "no fixed tag"},
		{"a mount that is not there", "./prometheus.yml", "./prometheus.yaml", "no such file"},
		{"no health check", "test: [CMD, pg_isready", "disable: true\n      test: [CMD, pg_isready", "postgres: no healthcheck"},
	})
}

func TestUnit(t *testing.T) {
	refuses(t, checkUnit, "footprint.service", []damage{
		{"an unknown setting", "TimeoutStopSec=", "TimeoutStopSecs=", "Unknown key 'TimeoutStopSecs'"},
		{"a value that is none", "Type=exec", "Type=exce", "Failed to parse"},
		{"another program", "ExecStart=/usr/local/bin/footprint", "ExecStart=/usr/bin/footprint", "not executable"},
		{"no filter of system calls", "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\n", "", "exposure level"},
	})
}

func TestPrometheus(t *testing.T) {
	refuses(t, checkPrometheus, "prometheus.yml", []damage{
		{"an unknown key", "static_configs", "static_config", "static_config not found"},
		{"a value that is none", "scrape_interval: 5s", "scrape_interval: often", "not a valid duration"},
		{"rules that are not there", "footprint.rules.yml", "footprint.rule.yml", "does not point to an existing file"},
		{"a pattern without rules", "footprint.rules.yml", "*.rule.yml", "no rules are found"},
	})
}

func TestRules(t *testing.T) {
	refuses(t, checkRules, "prometheus/footprint.rules.yml", []damage{
		{"an unknown key", "for: 1m", "until: 1m", "until not found"},
		{"an expression that is none", `up{job="footprint"} == 0`, `up{job="footprint"} = 0`, "could not parse expression"},
		{"another threshold", "> 0.9 * footprint", "> 0.99 * footprint", "FootprintMemoryNearBudget"},
		{"no patience", "for: 1m", "for: 0s", "FootprintDown"},
		{"another severity", "severity: critical", "severity: warning", "FootprintDown"},
	})
	refuses(t, checkRules, "prometheus/footprint.test.yml", []damage{
		{"another outcome", "exp_alerts: []", "exp_alerts: [{ exp_labels: { severity: critical } }]", "FAILED"},
	})
}

func TestKubernetes(t *testing.T) {
	refuses(t, checkKubernetes, "kubernetes/statefulset.yaml", []damage{
		{"an unknown field", "readOnlyRootFilesystem:", "readOnlyRootFileSystem:", "readOnlyRootFileSystem"},
		{"a field twice", "  replicas: 2\n", "  replicas: 2\n  replicas: 3\n", "replicas"},
		{"an unknown kind", "kind: StatefulSet", "kind: StatefulSets", `"StatefulSets"`},
		{"a number as text", "replicas: 2", `replicas: "2"`, "replicas"},
		{"another Service", "serviceName: footprint", "serviceName: consumer", `no Service "consumer"`},
		{"labels that do not fit", "app.kubernetes.io/name: footprint\n      annotations", "name: footprint\n      annotations", "does not select its own pods"},
		{"another ConfigMap", "configMapRef:\n                name: footprint", "configMapRef:\n                name: settings", `no ConfigMap "settings"`},
		{"another Secret", "secretName: footprint", "secretName: passwords", `no Secret "passwords"`},
		{"an unnamed port", "path: /livez\n              port: telemetry", "path: /livez\n              port: metrics", `no port "metrics"`},
		{"variables of Services", "enableServiceLinks: false", "enableServiceLinks: true", "enableServiceLinks"},
		{"a root user", "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"},
		{"more privileges", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "allowPrivilegeEscalation"},
		{"capabilities", "drop: [ALL]", "drop: [CHOWN]", "capabilities"},
		{"no memory limit", "limits: { memory: 512Mi }", "limits: {}", "memory has no limit"},
	})
	refuses(t, checkKubernetes, "kubernetes/disruption.yaml", []damage{
		{"a budget of nothing", "      app.kubernetes.io/name: footprint\n", "      app.kubernetes.io/name: other\n", "selects no pod"},
	})
}

// The dashboards are another folder's. So this reads small ones.
func TestDashboard(t *testing.T) {
	const whole = `{"title": "t", "uid": "u", "schemaVersion": 42, "templating": {}, "annotations": {}, "panels": [{"type": "stat", "title": "p", "targets": [
		{"datasource": {"type": "prometheus", "uid": "x"}, "expr": "up", "refId": "A"}]}]}`
	for _, damage := range []damage{
		{"as it is", "", "", ""},
		{"no JSON", `"uid"`, `uid`, "invalid character"},
		{"an unknown field", `"uid"`, `"uuid"`, "uuid"},
		{"an unknown field of a panel", `"title": "p"`, `"caption": "p"`, "caption"},
		{"an unknown kind of panel", `"stat"`, `"stats"`, `"stats"`},
		{"a value that Grafana does not have", `"title": "p"`, `"title": "p", "repeatDirection": "h", "maxPerRow": "many"`, "maxPerRow"},
		{"an unknown field of a query", `"expr"`, `"exp"`, "exp"},
	} {
		t.Run(damage.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d.json")
			if err := os.WriteFile(path, []byte(strings.Replace(whole, damage.from, damage.to, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			_, faults := checkDashboard(path)
			if all := strings.Join(faults, "\n"); !strings.Contains(all, damage.fault) || (damage.fault == "") != (len(faults) == 0) {
				t.Errorf("%q is not among the faults: %q", damage.fault, all)
			}
		})
	}
}
