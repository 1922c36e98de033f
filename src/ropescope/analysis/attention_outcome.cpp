// An outcome in a file, exactly: numbers as datasets (JSON has no NaN), the rest as one text.
#include <ATen/ops/tensor.h>

#include "ropescope/analysis/attention_items.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

namespace ropescope {

namespace {

const std::string kOutcome = "/outcome/";

/// Calls f(name, tensor) for all tensors of a sample.
template <typename Sample, typename F>
void for_each_sink_tensor(Sample& sample, F&& f) {
  for (size_t c = 0; c < sample.share.size(); ++c) {
    f("share_" + std::to_string(c), sample.share[c]);
    f("draws_" + std::to_string(c), sample.draws[c]);
  }
  f("picture_share", sample.picture_share);
  f("v_share", sample.v_share);
  f("l_share", sample.l_share);
  f("v_sinks", sample.v_sinks);
  f("l_sinks", sample.l_sinks);
}

template <typename Sample, typename F>
void for_each_drift_tensor(Sample& sample, F&& f) {
  for (size_t axis = 0; axis < sample.slope.size(); ++axis) {
    const std::string end = "_" + std::to_string(axis);
    f("slope" + end, sample.slope[axis]);
    f("slope_draws" + end, sample.slope_draws[axis]);
    f("asymmetry" + end, sample.asymmetry[axis]);
    f("asymmetry_draws" + end, sample.asymmetry_draws[axis]);
    f("correlation" + end, sample.correlation[axis]);
    f("likeness" + end, sample.likeness[axis]);
  }
}

at::Tensor doubles(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

std::vector<double> numbers_in(const ResultReader& reader, const std::string& name) {
  const at::Tensor values = reader.read(kOutcome + name).contiguous();
  const double* first = values.const_data_ptr<double>();
  return {first, first + values.numel()};
}

auto writing_to(ResultWriter& writer, const std::string& group) {
  return [&writer, group](const std::string& name, const at::Tensor& tensor) {
    if (tensor.defined()) writer.write(kOutcome + group + "/" + name, tensor);
  };
}

auto reading_from(const ResultReader& reader, const std::string& group) {
  return [&reader, group](const std::string& name, at::Tensor& tensor) {
    const std::string path = kOutcome + group + "/" + name;
    if (reader.has(path)) tensor = reader.read(path);
  };
}

}  // namespace

void write_outcome(ResultWriter& writer, const AttentionOutcome& outcome) {
  const MeasuredRows::Outcome& rows = outcome.rows;
  Json facts = {{"input", outcome.input},
                {"untrained_features", outcome.untrained_features},
                {"generated", rows.generated},
                {"queries", rows.queries},
                {"keys", rows.keys},
                {"names", Json::array()},
                {"sets", Json::array()},
                {"sinks", rows.sinks.has_value()},
                {"drift", rows.drift.has_value()}};
  std::vector<double> means;
  for (const auto& [name, mean] : rows.means) {
    facts["names"].push_back(name);
    means.push_back(mean);
  }
  for (const QuerySet& set : rows.sets) facts["sets"].push_back({{"name", set.name}, {"tokens", set.tokens}});
  writer.write(kOutcome + "means", doubles(means));
  writer.write(kOutcome + "share", doubles(outcome.share));
  writer.write(kOutcome + "uniform", doubles(outcome.uniform));
  writer.write(kOutcome + "uniform_share", doubles({rows.uniform_share}));
  writer.write(kOutcome + "seconds", doubles({outcome.seconds}));
  if (rows.sinks) {
    writer.write(kOutcome + "sinks/uniform",
                 doubles({rows.sinks->uniform.begin(), rows.sinks->uniform.end()}));
    for_each_sink_tensor(*rows.sinks, writing_to(writer, "sinks"));
  }
  if (rows.drift) {
    const DriftPrediction& predicted = rows.drift->predicted;
    facts["drift_tokens"] = rows.drift->tokens;
    facts["shift"] = rows.drift->shift;
    facts["lag"] = rows.drift->lag;
    facts["predicted"] = static_cast<int>(predicted.kind);
    writer.write(kOutcome + "drift/predicted", doubles({predicted.rows, predicted.columns, predicted.phase}));
    for_each_drift_tensor(*rows.drift, writing_to(writer, "drift"));
  }
  writer.write(kOutcome + "facts",
               std::vector<std::string>{facts.dump(-1, ' ', true, Json::error_handler_t::replace)});
}

AttentionOutcome read_outcome(const ResultReader& reader) {
  AttentionOutcome outcome;
  MeasuredRows::Outcome& rows = outcome.rows;
  try {
    const Json facts = Json::parse(reader.read_strings(kOutcome + "facts").at(0));
    facts.at("input").get_to(outcome.input);
    facts.at("untrained_features").get_to(outcome.untrained_features);
    facts.at("generated").get_to(rows.generated);
    facts.at("queries").get_to(rows.queries);
    facts.at("keys").get_to(rows.keys);
    const std::vector<double> means = numbers_in(reader, "means");
    const Json& names = facts.at("names");
    for (size_t i = 0; i < names.size(); ++i) rows.means[names[i].get<std::string>()] = means.at(i);
    for (const Json& set : facts.at("sets")) {
      rows.sets.push_back({set.at("name").get<std::string>(), set.at("tokens").get<std::vector<int64_t>>()});
    }
    outcome.share = numbers_in(reader, "share");
    outcome.uniform = numbers_in(reader, "uniform");
    rows.uniform_share = numbers_in(reader, "uniform_share").at(0);
    outcome.seconds = numbers_in(reader, "seconds").at(0);
    if (facts.at("sinks").get<bool>()) {
      SinkSample& sinks = rows.sinks.emplace();
      const std::vector<double> uniform = numbers_in(reader, "sinks/uniform");
      for (size_t c = 0; c < sinks.uniform.size(); ++c) sinks.uniform[c] = uniform.at(c);
      for_each_sink_tensor(sinks, reading_from(reader, "sinks"));
    }
    if (facts.at("drift").get<bool>()) {
      DriftSample& drift = rows.drift.emplace();
      const std::vector<double> predicted = numbers_in(reader, "drift/predicted");
      drift.predicted = {static_cast<DriftPrediction::Kind>(facts.at("predicted").get<int>()),
                         predicted.at(0), predicted.at(1), predicted.at(2)};
      facts.at("drift_tokens").get_to(drift.tokens);
      facts.at("shift").get_to(drift.shift);
      facts.at("lag").get_to(drift.lag);
      for_each_drift_tensor(drift, reading_from(reader, "drift"));
    }
  } catch (const Error&) {
    throw;
  } catch (const std::exception&) {  // (of JSON, of .at)
    throw InputError("{}: this is no part of an attention run. Try: the same command without --resume",
                     reader.path().string());
  }
  return outcome;
}

}  // namespace ropescope
