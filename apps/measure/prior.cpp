// ropescope prior: what a model's heads expect of a layout under each scheme, before they see any content.
#include "ropescope/analysis/prior.h"

#include <chrono>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "ropescope/analysis/figures.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/core/log.h"
#include "ropescope/core/strings.h"

#include "command.h"
#include "inputs/layout_input.h"
#include "text_table.h"

namespace ropescope::app {

namespace prior {

namespace {

struct PriorFlags {
  std::string samples, schemes, output, query = "last";
  LayoutFlags layout;
  std::vector<int64_t> text_lengths = {0, 1024, 2048, 4096, 8192, 16384, 32768};
  std::vector<int64_t> layers, heads;  // all unless given
  std::optional<double> rope_theta;
  bool by_head = false, markdown = false;
  std::optional<std::string> plot;

  void bind(Flags& flags) {
    flags.group("Prior");
    flags.add("samples", samples, "result of `ropescope sample --moments`, or any file with /moments")
        .required();
    layout.bind(flags, "for example text:16,anyres:24x24+48x48,text:32");
    flags
        .add(
            "schemes", schemes,
            "for example vanilla,id-align,mrope,dipe; separated by ; where a scheme has commas; default: vanilla and that which the sampled model was trained under")
        .alias("scheme");
    flags.add("query", query, "the token that looks: last, a token index, or high:row,column");
    flags.add("text-lengths", text_lengths,
              "text tokens between the image and the query, for the fading curve");
    flags
        .add("rope-theta", rope_theta,
             "base of every layer that rotates, in place of its own, which the samples know")
        .above(0);
    flags.add("layers", layers, "only these layers, for example 0-3,31");
    flags.add("heads", heads, "only these query heads");
    flags.add("by-head", by_head, "keep the maps of every head, not only those of every layer");
    flags.add(
        "plot", plot,
        "figure of the maps (.png, .svg or .pdf); `ropescope plot --kind prior-fading` draws the curves");
    flags.add("markdown", markdown, "the table as Markdown");
    flags.add("output", output, "result file, for example prior.h5").required();
  }
};

Layout read_layout(const LayoutFlags& flags) {
  const std::optional<Layout> layout = flags.read();
  if (!layout) throw UsageError("expected either --layout or --layout-file; see --help");
  return *layout;
}

Samples read_moments(const std::string& path) {
  const ResultReader file(path);
  for (const char* dataset : {"/moments/mean_q", "/moments/mean_k"}) {
    if (file.has(dataset)) continue;
    throw InputError(
        "{}: expected {} (mean query and key of each head), found none. Try: ropescope sample --model M --texts F --moments --output {}",
        path, dataset, path);
  }
  return read_samples(path, SampleSource::kMoments);
}

std::vector<std::string> chosen_schemes(const PriorFlags& flags, const ModelFacts& model) {
  if (!flags.schemes.empty()) return split_scheme_list(flags.schemes);
  if (model.scheme.empty()) {
    throw UsageError("--schemes is required, since {} names no scheme of its model", flags.samples);
  }
  log_info("scheme {}, as {} says of its model", model.scheme, flags.samples);
  if (model.scheme == "vanilla") return {"vanilla"};
  return {"vanilla", model.scheme};
}

PriorOptions read_options(const PriorFlags& flags, const Samples& samples) {
  PriorOptions options;
  options.query = parse_prior_query(flags.query);
  options.text_lengths = flags.text_lengths;
  if (flags.rope_theta) {
    options.rope = samples.model.rope.value_or(RopeConfig{});
    options.rope->theta = *flags.rope_theta;
  }
  options.layers = flags.layers;
  options.heads = flags.heads;
  options.by_head = flags.by_head;
  return options;
}

Json number_json(const PriorNumber& number) {
  const auto value = [](double x) { return std::isfinite(x) ? Json(x) : Json(); };
  return {{"mean", value(number.mean)},
          {"ci95_low", value(number.ci95_low)},
          {"ci95_high", value(number.ci95_high)}};
}

void print_json(const PriorResult& result, const std::string& output) {
  Json rows = Json::array();
  for (const SchemePrior& prior : result.schemes) {
    Json row = {{"scheme", prior.scheme}, {"seconds", prior.seconds}};
    for (const PriorNumber& number : prior.numbers) row[number.name] = number_json(number);
    row["fading"] = Json::array();
    for (size_t i = 0; i < prior.fading.size(); ++i) {
      Json point = number_json(prior.fading[i]);
      point["text_length"] = result.options.text_lengths[i];
      point["uniform_share"] = prior.uniform_share[i];
      row["fading"].push_back(std::move(point));
    }
    rows.push_back(std::move(row));
  }
  const Json object = {{"output", output},
                       {"layout", layout_text(result.layout)},
                       {"query", result.schemes.front().query},
                       {"rope_theta", std::isfinite(result.theta) ? Json(result.theta) : Json()},
                       {"layers", result.layers},
                       {"heads", result.head_count},
                       {"interval", result.interval},
                       {"trained_context", result.trained_context},
                       {"ordered_by_text_length", result.options.text_lengths[result.ordered_by]},
                       {"schemes", rows}};
  fmt::print("{}\n", object.dump());
}

void print_csv(const PriorResult& result) {
  fmt::print("scheme,number,text_length,mean,ci95_low,ci95_high\n");
  const auto line = [](const SchemePrior& prior, const std::string& name, const std::string& length,
                       const PriorNumber& number) {
    const bool quoted = prior.scheme.find(',') != std::string::npos;
    fmt::print("{0}{1}{0},{2},{3},{4:.9g},{5:.9g},{6:.9g}\n", quoted ? "\"" : "", prior.scheme, name, length,
               number.mean, number.ci95_low, number.ci95_high);
  };
  for (const SchemePrior& prior : result.schemes) {
    for (const PriorNumber& number : prior.numbers) line(prior, number.name, "", number);
    for (size_t i = 0; i < prior.fading.size(); ++i) {
      line(prior, "fading", std::to_string(result.options.text_lengths[i]), prior.fading[i]);
    }
  }
}

/// A column of the table for people: its heading, and its cell of a scheme.
struct Column {
  std::string heading;
  std::function<std::string(const SchemePrior&)> cell;
};

std::string cell_text(const PriorNumber& number, double unit, int digits) {
  if (!std::isfinite(number.mean)) return "-";
  const std::string mean = fmt::format("{:.{}f}", number.mean * unit, digits);
  if (!std::isfinite(number.ci95_low)) return mean;
  return fmt::format("{} [{:.{}f}, {:.{}f}]", mean, number.ci95_low * unit, digits, number.ci95_high * unit,
                     digits);
}

std::vector<Column> columns_of(const PriorResult& result) {
  const auto& lengths = result.options.text_lengths;
  std::vector<Column> columns = {{"scheme", [](const SchemePrior& prior) { return prior.scheme; }}};
  const auto fading = [&](size_t i) {
    columns.push_back({fmt::format("visual % at {}", lengths[i]),
                       [i](const SchemePrior& prior) { return cell_text(prior.fading[i], 100, 2); }});
  };
  fading(result.ordered_by);
  if (result.ordered_by > 0) fading(0);
  if (result.ordered_by + 1 < lengths.size()) fading(lengths.size() - 1);
  const auto number = [&](const char* heading, const char* name, double unit, int digits) {
    columns.push_back(
        {heading, [=](const SchemePrior& prior) { return cell_text(prior.number(name), unit, digits); }});
  };
  number("partner logit", "partner_logit", 1, 3);
  number("partner %", "partner_share", 100, 3);
  number("partner rank", "partner_rank", 1, 0);
  number("sink first %", "sink_first", 100, 4);
  number("sink visual %", "sink_visual", 100, 3);
  return columns;
}

std::string table(const PriorResult& result, TableStyle style) {
  const std::vector<Column> columns = columns_of(result);
  std::vector<std::string> header;
  for (const Column& column : columns) header.push_back(column.heading);
  TextTable text(header);
  for (const SchemePrior& prior : result.schemes) {
    std::vector<std::string> row;
    for (const Column& column : columns) row.push_back(column.cell(prior));
    text.add(std::move(row));
  }
  return text.text(style);
}

void print_report(const PriorResult& result, const std::string& output, double seconds) {
  fmt::print("prior attention of token {} of {} (softmax of expected scores, mean over {} heads)\n",
             result.schemes.front().query, layout_text(result.layout), result.head_count);
  if (!result.layers.empty()) fmt::print("each layer under its own encoding; {}\n", result.layers);
  fmt::print("intervals: {}\n", result.interval);
  fmt::print("visual % at t: attention on visual tokens with t more text tokens before the query\n");
  fmt::print("order: visual % at {}, the greatest length within the trained context ({} tokens)\n",
             result.options.text_lengths[result.ordered_by],
             result.trained_context > 0 ? std::to_string(result.trained_context) : "unknown");
  for (size_t i = 0; i < result.options.text_lengths.size(); ++i) {
    fmt::print("{}{}: {:.2f}", i == 0 ? "uniform attention, % at " : ", ", result.options.text_lengths[i],
               100 * result.schemes.front().uniform_share[i]);
  }
  fmt::print("\n\n");
  fmt::print("{}", table(result, TableStyle::kAligned));
  fmt::print("\n{} in {:.3f} s; written to {}\n",
             counted(static_cast<int64_t>(result.schemes.size()), "scheme"), seconds, output);
}

int run(const PriorFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  const std::string& output = flags.output;
  const Layout layout = read_layout(flags.layout);
  if (!flags.schemes.empty()) {  // a wrong name is told before the file is read
    for (const std::string& scheme : split_scheme_list(flags.schemes)) Scheme{scheme};
  }
  const Samples samples = read_moments(flags.samples);
  const std::vector<std::string> schemes = chosen_schemes(flags, samples.model);
  const PriorOptions prior_options = read_options(flags, samples);
  if (flags.plot) check_figure_path(*flags.plot, settings.force);

  Provenance provenance = invocation.provenance();
  provenance.add_input(flags.samples);
  ResultWriter writer(output, provenance, settings.force);
  const auto start = std::chrono::steady_clock::now();
  const PriorResult result = compute_prior(samples, layout, schemes, prior_options);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  write_prior(writer, result);
  writer.commit();
  if (settings.json) {
    print_json(result, output);
  } else if (settings.csv) {
    print_csv(result);
  } else if (flags.markdown) {
    fmt::print("{}", table(result, TableStyle::kMarkdown));
  } else {
    print_report(result, output, seconds);
  }
  if (flags.plot) {
    plot_result(output, "prior-maps", *flags.plot, settings.force);
    log_info("figure written to {}", *flags.plot);
  }
  return 0;
}

}  // namespace

}  // namespace prior

extern const Command kPrior;
const Command kPrior = make_command<prior::PriorFlags>(
    "prior", "Says where a model's heads would look in a layout before they see any content.",
    "ropescope prior --samples samples.h5 --layout text:16,anyres:24x24+48x48,text:32 --schemes vanilla,id-align,mrope,dipe --output prior.h5",
    kThreads | kWrites | kTables, prior::run);

}  // namespace ropescope::app
