#include "train/train_log.h"

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/version.h"
#include "ropescope/rope/criteria.h"
#include "ropescope/rope/encoding.h"

namespace ropescope::app::train {

namespace {

/// The scheme's criteria on the row that maps are made of, under the model's own rotation.
Json criteria_of(const Scheme& scheme, const Layout& layout, const DecoderConfig& config) {
  const EncodedModel model = encoded_model(config);
  CriteriaOptions options;
  options.rope = model.rope;
  options.head_dim = model.head_dim;
  options.kv_heads = model.kv_heads;
  options.max_position_embeddings = model.max_position_embeddings;
  return to_json(judge(scheme, layout, scheme.positions(layout), options));
}

Json header_of(TrainSubject& subject, const TrainSettings& settings, const Provenance& provenance,
               const Json& state, const SampleMaps& sample) {
  const DecoderConfig& decoder = subject.decoder_config();
  const Scheme scheme = settings.loss.scheme ? *settings.loss.scheme : Scheme(decoder.native_scheme());
  return {{"run",
           {{"command", provenance.command},
            {"ropescope_version", version()},
            {"ropescope_commit", commit()},
            {"libtorch_version", libtorch_version()},
            {"device", provenance.device},
            {"dtype", provenance.dtype},
            {"seed", provenance.seed}}},
          {"config", state.at("config")},
          {"data", state.at("data")},
          {"scheme", scheme.text()},
          {"criteria",
           {{"scheme", scheme.text()},
            {"row", sample.row()},
            {"layout", layout_text(sample.layout())},
            {"criteria", criteria_of(scheme, sample.layout(), decoder)}}}};
}

RunLogForms forms_of(const TrainFlags& flags) {
  return flags.log ? parse_log_forms(words(*flags.log)) : RunLogForms{};
}

}  // namespace

void check_log_flags(const TrainFlags& flags, const Launch& launch) {
  const RunLogForms forms = forms_of(flags);
  if (flags.log && !forms.any()) {
    throw UsageError("--log: expected tensorboard or jsonl, or both, found \"{}\"", *flags.log);
  }
  if (flags.log_row && !flags.log && flags.log_maps == 0) {
    throw UsageError("--log-row: expected --log or --log-maps, which it belongs to");
  }
  if (flags.log_maps > 0 && launch.world > 1 && flags.processes.shard == "parameters") {
    throw UsageError(
        "--log-maps: under --shard parameters no rank holds the model that a map is made of. Try: --shard gradients, or "
        "ropescope attention on a checkpoint");
  }
}

TrainLog::TrainLog(const TrainFlags& flags, const TrainSettings& settings, TrainSubject& subject,
                   const Provenance& provenance, const Json& state, int64_t step)
    : folder_(flags.output), maps_every_(flags.log_maps) {
  const RunLogForms forms = forms_of(flags);
  if (!forms.any() && maps_every_ == 0) return;
  maps_ = std::make_unique<SampleMaps>(subject, settings, flags.log_row.value_or(""));
  if (forms.any()) {
    log_ = std::make_unique<RunLog>(folder_, forms, step,
                                    header_of(subject, settings, provenance, state, *maps_));
  }
  // The first one before the first step: what lacks (gnuplot) is told now.
  if (maps_every_ > 0 && step < 0) draw(0);
}

void TrainLog::draw(int64_t step) {
  const std::filesystem::path folder = folder_ / "maps", png = folder / fmt::format("step-{}.png", step);
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (code) throw EnvironmentError("{}: the folder cannot be made ({})", folder.string(), code.message());
  maps_->draw(step, png);
  if (log_) log_->picture(step, "attention/map", png);
}

void TrainLog::add(const Curves::Point& point) {
  if (log_) log_->add(point);
  if (maps_every_ > 0 && point.step % maps_every_ == 0) draw(point.step);
}

void TrainLog::sync() const {
  if (log_) log_->sync();
}

}  // namespace ropescope::app::train
