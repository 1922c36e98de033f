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

#include "command.h"
#include "layout_input.h"
#include "text_table.h"

namespace ropescope::app {

namespace {

std::vector<po::options_description> options() {
  po::options_description prior("Prior", 110, 55);
  prior.add_options()  //
      ("samples", po::value<std::string>(),
       "result of `ropescope sample --moments`, or any file with /moments")                         //
      ("layout", po::value<std::string>(), "for example text:16,anyres:24x24+48x48,text:32")        //
      ("layout-file", po::value<std::string>(), "JSON file with one layout, in place of --layout")  //
      ("schemes", po::value<std::string>(),
       "for example vanilla,id-align,mrope,dipe; separated by ; where a scheme "
       "has commas")  //
      ("query", po::value<std::string>()->default_value("last"),
       "the token that looks: last, a token index, or high:row,column")  //
      ("text-lengths", po::value<std::string>()->default_value("0,1024,2048,4096,8192,16384,32768"),
       "text tokens between the image and the query, for the fading curve")                             //
      ("rope-theta", po::value<double>(), "base in place of the checkpoint's, which the samples know")  //
      ("layers", po::value<std::string>(), "only these layers, for example 0-3,31")                     //
      ("heads", po::value<std::string>(), "only these query heads")                                     //
      ("by-head", po::bool_switch(), "keep the maps of every head, not only those of every layer")      //
      ("plot", po::value<std::string>(),
       "figure of the maps (.png, .svg or .pdf); `ropescope plot --kind prior-fading` draws the curves")  //
      ("markdown", po::bool_switch(), "the table as Markdown")                                            //
      ("output", po::value<std::string>(), "result file, for example prior.h5");
  return {prior};
}

Layout read_layout(const Arguments& arguments) {
  if (arguments.has("layout") == arguments.has("layout-file")) {
    throw UsageError("expected either --layout or --layout-file; see --help");
  }
  return *given_layout(arguments);
}

Samples read_moments(const std::string& path) {
  const ResultReader file(path);
  for (const char* dataset : {"/moments/mean_q", "/moments/mean_k"}) {
    if (file.has(dataset)) continue;
    throw InputError(
        "{}: expected {} (mean query and key of each head), found none. Try: ropescope sample --model M "
        "--texts F --moments --output {}",
        path, dataset, path);
  }
  return read_samples(path, SampleSource::kMoments);
}

PriorOptions read_options(const Arguments& arguments, const Samples& samples) {
  PriorOptions options;
  options.query = parse_prior_query(arguments.get<std::string>("query"));
  options.text_lengths = parse_integer_list(arguments.get<std::string>("text-lengths"), "text-lengths");
  if (arguments.has("rope-theta")) {
    options.rope = samples.model.rope.value_or(RopeConfig{});
    options.rope->theta = arguments.get<double>("rope-theta");
    if (!(options.rope->theta > 0) || !std::isfinite(options.rope->theta)) {
      throw UsageError("--rope-theta: expected a number above 0, found {}", options.rope->theta);
    }
  }
  if (arguments.has("layers"))
    options.layers = parse_integer_list(arguments.get<std::string>("layers"), "layers");
  if (arguments.has("heads"))
    options.heads = parse_integer_list(arguments.get<std::string>("heads"), "heads");
  options.by_head = arguments.flag("by-head");
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
                       {"rope_theta", result.rope.theta},
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
  fmt::print("\n{} schemes in {:.3f} s; written to {}\n", result.schemes.size(), seconds, output);
}

int run(const Arguments& arguments) {
  const CommonSettings settings = common_settings(arguments);
  const std::string output = required_text(arguments, "output");
  const std::vector<std::string> schemes = split_scheme_list(required_text(arguments, "schemes"));
  const std::string path = required_text(arguments, "samples");
  const Layout layout = read_layout(arguments);
  for (const std::string& scheme : schemes) Scheme{scheme};  // a wrong name is told before the file is read
  const Samples samples = read_moments(path);
  const PriorOptions prior_options = read_options(arguments, samples);
  if (arguments.has("plot")) check_figure_path(arguments.get<std::string>("plot"), settings.force);

  Provenance provenance = make_provenance(arguments, settings);
  provenance.add_input(path);
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
  } else if (arguments.flag("markdown")) {
    fmt::print("{}", table(result, TableStyle::kMarkdown));
  } else {
    print_report(result, output, seconds);
  }
  if (arguments.has("plot")) {
    const std::string figure = arguments.get<std::string>("plot");
    plot_result(output, "prior-maps", figure, settings.force);
    log_info("figure written to {}", figure);
  }
  return 0;
}

}  // namespace

extern const Command kPrior;
const Command kPrior{
    "prior", "Says where a model's heads would look in a layout before they see any content.",
    "ropescope prior --samples samples.h5 --layout text:16,anyres:24x24+48x48,text:32 --schemes "
    "vanilla,id-align,mrope,dipe --output prior.h5",
    options, run};

}  // namespace ropescope::app
