package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/barchart"
	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/gauge"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/piechart"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/text"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// The kinds of panels that a dashboard may have. The SDK has more. To compile them all takes as long as all the rest.
var panelKinds = []variants.PanelcfgConfig{
	barchart.VariantConfig(),
	bargauge.VariantConfig(),
	gauge.VariantConfig(),
	heatmap.VariantConfig(),
	piechart.VariantConfig(),
	stat.VariantConfig(),
	statetimeline.VariantConfig(),
	table.VariantConfig(),
	text.VariantConfig(),
	timeseries.VariantConfig(),
}

// checkDashboard reads a dashboard with the types of Grafana's foundation SDK. An unknown field of the dashboard, of a panel or of a
// query to Prometheus is a fault, and so is a panel of another kind than those above, whose options nobody would check.
func checkDashboard(path string) (string, []string) {
	runtime := cog.NewRuntime()
	known := map[string]bool{"row": true}
	for _, kind := range panelKinds {
		runtime.RegisterPanelcfgVariant(kind)
		known[kind.Identifier] = true
	}
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())

	content, err := os.ReadFile(path)
	if err != nil {
		return "", []string{err.Error()}
	}
	var strict, read dashboard.Dashboard
	if err := strict.UnmarshalJSONStrict(content); isFault(err) {
		return "", []string{err.Error()}
	}
	// once more, because what was read strictly lacks its panels: the SDK takes its own empty list of errors for a failure
	if err := json.Unmarshal(content, &read); err != nil {
		return "", []string{err.Error()}
	}
	if err := read.Validate(); isFault(err) {
		return "", []string{err.Error()}
	}
	var faults []string
	check := func(panel *dashboard.Panel) {
		if panel != nil && !known[panel.Type] {
			faults = append(faults, fmt.Sprintf("a panel is a %q, which is not in panelKinds of dashboard.go", panel.Type))
		}
	}
	for _, entry := range read.Panels {
		check(entry.Panel)
		if entry.RowPanel != nil {
			for index := range entry.RowPanel.Panels {
				check(&entry.RowPanel.Panels[index])
			}
		}
	}
	return fmt.Sprintf("%d panels", len(read.Panels)), faults
}

// The SDK returns an empty list of errors where it means none.
func isFault(err error) bool {
	var list cog.BuildErrors
	return err != nil && !(errors.As(err, &list) && len(list) == 0)
}
