#include "train/train_settings.h"

#include <algorithm>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/text/chat_template_file.h"
#include "ropescope/train/conversation_rows.h"
#include "ropescope/train/fresh_vlm.h"
#include "ropescope/train/vlm_slots.h"

#include "inputs/loaded_model.h"
#include "inputs/model_folder.h"

namespace ropescope::app::train {

namespace {

// Threads beyond this only wait for each other.
constexpr int64_t kMostWorkers = 256;

/// "PATTERN=RATE,...": groups before the one of all others.
std::vector<ParameterGroup> read_groups(const TrainFlags& flags) {
  ParameterGroup usual;
  usual.learning_rate = *flags.learning_rate;
  usual.floor = flags.min_learning_rate;
  usual.weight_decay = flags.weight_decay;
  std::vector<ParameterGroup> groups;
  for (const std::string& word : words(*flags.group_learning_rates)) {
    const size_t at = word.find('=');
    ParameterGroup group = usual;
    group.pattern = word.substr(0, at);
    const std::string rate = at == std::string::npos ? "" : word.substr(at + 1);
    const std::vector<double> numbers = parse_number_list(rate, "group-learning-rates");
    if (numbers.size() != 1) {
      throw UsageError("--group-learning-rates: expected PATTERN=RATE, found \"{}\"", word);
    }
    group.learning_rate = numbers[0];
    groups.push_back(group);
  }
  groups.push_back(usual);
  return groups;
}

// Flags that do not change what a run computes.
bool is_housekeeping(const std::string& flag) {
  static const std::set<std::string> names = {
      "output",    "resume",       "allow-change",  "dry-run",     "save-every",
      "keep-last", "log-every",    "max-steps",     "epochs",      "checkpoint-layers",
      "model",     "data",         "vision-tower",  "token-cache", "image-folder",
      "workers",   "max-bad-rows", "stage",         "tflops",      "shard",
      "timeout",   "ranks",        "memory-report", "log",         "log-maps",
      "log-row",   "adapter"};
  return names.count(flag) > 0;
}

/// What the model is that the flags name, or that comes of a language model and --vision-tower.
VlmConfig described(const TrainFlags& flags) {
  if (!flags.vision_tower) return read_vlm_config(flags.model);
  VlmConfig vlm;
  const std::filesystem::path path = std::filesystem::path(*flags.vision_tower) / "config.json";
  const bool naflex = is_naflex_tower(read_json_file(path));
  vlm.family = &vlm_family_of(naflex ? "naflex" : "llava_next");
  // Names alone matter here.
  vlm.vision.kind = naflex ? VisionKind::kNaflex : VisionKind::kClip;
  vlm.vision.packed = naflex;
  if (naflex) {
    vlm.connector.kind = ConnectorKind::kMerger;
    vlm.connector.norm_name = "adaptor.ln_q";
    vlm.connector.first_name = "adaptor.mlp.0";
    vlm.connector.second_name = "adaptor.mlp.2";
  }
  return vlm;
}

/// "own" where the model brings a chat template along, else the one that its tokenizer speaks for.
std::string own_or_named(const TrainFlags& flags) {
  const auto tokenizer = load_tokenizer(flags.model);
  if (read_chat_template(flags.model, *tokenizer, /*sees=*/true)) return "own";
  const bool chatml = tokenizer->encode("<|im_start|>", {/*add_special=*/false, false}).size() == 1;
  log_info("template {}: {} has no chat template of its own", chatml ? "qwen" : "vicuna_v1", flags.model);
  return chatml ? "qwen" : "vicuna_v1";
}

}  // namespace

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

TrainFlags with_stage_defaults(TrainFlags flags, const std::optional<AdapterFile>& adapter) {
  const std::filesystem::path model = flags.model, data = flags.data;
  const ModelKind kind = model_kind(model);
  if (kind == ModelKind::kVisionTower) {
    throw UsageError("--model {}: expected a language model, found a vision tower alone", flags.model);
  }
  default_to_own_scheme(flags.scheme, model);
  const bool sees = kind == ModelKind::kVlm || flags.vision_tower, pretrain = flags.stage == "pretrain";
  if (pretrain && !sees) {
    throw UsageError(
        "--stage pretrain: expected a vision-language model, whose connector is trained, found {}",
        flags.model);
  }
  if (adapter) {
    const LoraSettings& own = adapter->settings;
    if (flags.lora && parse_lora(*flags.lora) != own) {
      throw UsageError("--lora {}: {} is rank and targets of --adapter. Try: without --lora", *flags.lora,
                       lora_text(own));
    }
    flags.lora = lora_text(own);
  }
  const DecoderConfig decoder = read_decoder_config(model);
  const bool qwen = decoder.model_type.rfind("qwen", 0) == 0 && (sees || decoder.model_type == "qwen2");
  const std::optional<VlmConfig> vlm = sees ? std::optional(described(flags)) : std::nullopt;
  const bool llava_next = vlm && vlm->family->name == "llava_next";
  const auto set = [](auto& field, const auto& value) {
    if (!field) field = value;
  };
  set(flags.chat_template, pretrain              ? "plain"
                           : sees && !llava_next ? own_or_named(flags)
                           : qwen                ? "qwen"
                                                 : "vicuna_v1");
  set(flags.max_length, !holds_conversations(data) ? 2048 : qwen ? 32768 : 4096);
  set(flags.accumulation, pretrain ? 4 : flags.stage == "finetune" ? 2 : 1);
  set(flags.learning_rate, pretrain ? 1e-3 : flags.lora ? 2e-4 : 2e-5);
  const bool slow_tower = sees && !pretrain;
  set(flags.trained, pretrain     ? fmt::format("{}", fmt::join(connector_patterns(*vlm), ","))
                     : flags.lora ? ""
                                  : "*");
  std::vector<std::string> slow;
  if (slow_tower) slow = tower_patterns(*vlm);
  for (std::string& pattern : slow) pattern += fmt::format("={:.9g}", *flags.learning_rate / 10);
  set(flags.group_learning_rates, fmt::format("{}", fmt::join(slow, ",")));
  set(flags.image_folder, data.parent_path().string());
  return flags;
}

TrainSettings read_settings(const TrainFlags& flags, const CommonSettings& common) {
  TrainSettings settings;
  settings.model = flags.model;
  settings.data = flags.data;
  const bool has_eyes = model_kind(settings.model) == ModelKind::kVlm;
  settings.vision_tower = flags.vision_tower.value_or("");
  if (has_eyes && !settings.vision_tower.empty()) {
    throw UsageError("--vision-tower: {} has a vision tower already", flags.model);
  }
  settings.sees = has_eyes || !settings.vision_tower.empty();
  settings.token_cache = flags.token_cache.value_or("");
  settings.image_folder = *flags.image_folder;
  if (flags.image_move != "auto") {
    settings.image_move = flags.image_move == "always" ? ImageMove::kAlways : ImageMove::kSingle;
  }
  if (flags.pinpoints) settings.pinpoints = parse_pinpoint_rule(*flags.pinpoints);
  if (flags.alpha) settings.alpha = parse_alpha_rule(*flags.alpha);
  settings.exif = parse_exif_rule(flags.exif);
  settings.workers = static_cast<int>(std::min(flags.workers, kMostWorkers));
  settings.rows.form = parse_corpus_form(flags.data_form);
  settings.own_template = *flags.chat_template == "own";
  if (!settings.own_template) settings.rows.conversation.chat = parse_chat_template(*flags.chat_template);
  settings.rows.conversation.rule = parse_label_rule(flags.labels);
  if (settings.own_template && settings.rows.conversation.rule == LabelRule::kUpstream) {
    throw UsageError(
        "--labels upstream: expected one of LLaVA's templates (--template), which its code labels so");
  }
  settings.rows.conversation.max_length = *flags.max_length;
  settings.max_bad_rows = flags.max_bad_rows;
  settings.sampler.kind = parse_sampler(flags.sampler);
  settings.sampler.micro_batch = flags.batch_size;
  settings.sampler.accumulation = *flags.accumulation;
  settings.sampler.seed = common.seed;
  settings.trained = words(*flags.trained);
  settings.frozen = words(flags.freeze);
  settings.groups = read_groups(flags);
  settings.adam.beta1 = flags.beta1;
  settings.adam.beta2 = flags.beta2;
  settings.adam.epsilon = flags.epsilon;
  settings.trainer.weighting = parse_loss_weighting(flags.loss_weighting);
  settings.trainer.clip_norm = flags.clip_norm;
  settings.trainer.schedule.kind = parse_schedule(flags.schedule);
  if (flags.scheme) settings.loss.scheme = Scheme(*flags.scheme);
  settings.loss.packing = flags.packing;
  settings.loss.compute = common.dtype;
  settings.loss.checkpoint_layers = flags.checkpoint_layers;
  if (flags.lora) settings.lora = parse_lora(*flags.lora);
  if (settings.lora && !settings.vision_tower.empty()) {
    throw UsageError(
        "--lora: expected a model that is there whole, not one that --vision-tower makes, which nobody could load again. "
        "Try: --stage pretrain without --lora first");
  }
  settings.max_steps = flags.max_steps;
  settings.epochs = flags.epochs;
  settings.warmup_ratio = flags.warmup_ratio;
  return settings;
}

Json train_config(const TrainFlags& flags, const CommonSettings& common, int64_t total_steps) {
  // Bound anew, so that what --stage decided is recorded as if it had been given.
  TrainFlags decided = flags;
  Flags record;
  decided.bind(record);
  Json config = Json::object();
  const Json values = record.values();  // items() only refers to it
  for (const auto& item : values.items()) {
    if (!is_housekeeping(item.key())) config[item.key()] = item.value();
  }
  // Lists that may be empty, which values() leaves out; a run that is resumed is compared key by key.
  config["freeze"] = decided.freeze;
  config["group-learning-rates"] = *decided.group_learning_rates;
  config["total-steps"] = total_steps;
  config["dtype"] = dtype_name(common.dtype);
  config["seed"] = common.seed;
  return config;
}

}  // namespace ropescope::app::train
