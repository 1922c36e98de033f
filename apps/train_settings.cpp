#include "train_settings.h"

#include <algorithm>
#include <map>
#include <sstream>

#include <fmt/format.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/train/conversation_rows.h"
#include "ropescope/weights/decoder_config.h"

#include "loaded_model.h"
#include "train_processes.h"

namespace ropescope::app {

namespace {

// Threads beyond this only wait for each other.
constexpr int64_t kMostWorkers = 256;

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

int64_t at_least(const Arguments& arguments, const char* flag, int64_t least) {
  const auto value = arguments.get<int64_t>(flag);
  if (value < least) throw UsageError("--{}: expected at least {}, found {}", flag, least, value);
  return value;
}

/// "PATTERN=RATE,...": groups before the one of all others.
std::vector<ParameterGroup> read_groups(const Arguments& arguments) {
  ParameterGroup usual;
  usual.learning_rate = arguments.get<double>("learning-rate");
  usual.floor = arguments.get<double>("min-learning-rate");
  usual.weight_decay = arguments.get<double>("weight-decay");
  std::vector<ParameterGroup> groups;
  for (const std::string& word : words(arguments.get<std::string>("group-learning-rates"))) {
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
  for (const char* name :
       {"output",    "config",       "resume",      "allow-change", "dry-run", "save-every",
        "keep-last", "log-every",    "max-steps",   "epochs",       "threads", "device",
        "force",     "json",         "csv",         "quiet",        "help",    "checkpoint-layers",
        "model",     "data",         "tflops",      "shard",        "timeout", "memory-report",
        "ranks",     "vision-tower", "token-cache", "image-folder", "workers", "max-bad-rows",
        "stage"}) {
    if (flag == name) return true;
  }
  return false;
}

Json value_of(const boost::any& value) {
  if (const auto* text = boost::any_cast<std::string>(&value)) return *text;
  if (const auto* flag = boost::any_cast<bool>(&value)) return *flag;
  if (const auto* integer = boost::any_cast<int64_t>(&value)) return *integer;
  if (const auto* natural = boost::any_cast<uint64_t>(&value)) return *natural;
  if (const auto* number = boost::any_cast<double>(&value)) return *number;
  if (const auto* small = boost::any_cast<int>(&value)) return *small;
  throw InternalError("train_config: a flag of an unknown type");
}

}  // namespace

std::vector<po::options_description> train_options() {
  po::options_description input("Model and data", 110, 55);
  input.add_options()                                                                             //
      ("model", po::value<std::string>(), "checkpoint to start from: a folder, or a .gguf file")  //
      ("vision-tower", po::value<std::string>(),
       "with a language model: CLIP or SigLIP folder; makes a LLaVA-NeXT model with a projector that knows "
       "nothing yet")  //
      ("data", po::value<std::string>(),
       "plain documents (.txt, .jsonl with `text`, WikiText, dictd, a folder), or conversations in LLaVA's "
       "form (.json, .jsonl)")  //
      ("image-folder", po::value<std::string>(),
       "what names of images start from; default: the folder of --data")  //
      ("stage", po::value<std::string>(),
       "pretrain (projector only) or finetune (all): defaults of other flags, see docs/training.md")  //
      ("data-form", po::value<std::string>()->default_value("auto"),
       "of documents: auto, text, lines, jsonl, wikitext, dictd")  //
      ("template", po::value<std::string>(),
       "of conversations: vicuna_v1, qwen, plain; default: plain for pretrain, else as the decoder's "
       "family")  //
      ("labels", po::value<std::string>()->default_value("intended"),
       "of conversations: intended (answers), or upstream (as the original code has them)")  //
      ("max-length", po::value<int64_t>(),
       "tokens, images included; longer documents are cut into pieces, longer conversations at the end; "
       "default: 2048 for documents, else 4096, 32768 for Qwen")  //
      ("max-bad-rows", po::value<int64_t>()->default_value(0),
       "bad conversations that may be left out; bad_rows.log names them")  //
      ("token-cache", po::value<std::string>(),
       "file that keeps the tokens of conversations with images; made anew when data or settings are "
       "others")  //
      ("image-move", po::value<std::string>()->default_value("auto"),
       "an image to the front of its turn: always (Open-LLaVA-NeXT), single (LLaVA-NeXT: only where it is "
       "alone), auto (single for Qwen and turns with several)")  //
      ("pinpoints", po::value<std::string>(),
       "how the checkpoint's grids are read: hf or original; default: as its form does")  //
      ("alpha", po::value<std::string>(),
       "transparency: white or drop; default: drop for original checkpoints, else white")             //
      ("exif", po::value<std::string>()->default_value("ignore"), "orientation: apply or ignore")     //
      ("workers", po::value<int64_t>()->default_value(2), "threads that read images ahead; 0: none")  //
      ("scheme", po::value<std::string>(), "position encoding; absent: the checkpoint's own rotation");
  po::options_description loop("Optimisation", 110, 55);
  loop.add_options()                                                                               //
      ("max-steps", po::value<int64_t>()->default_value(0), "updates; 0: what --epochs comes to")  //
      ("epochs", po::value<int64_t>()->default_value(1), "passes over the data")                   //
      ("batch-size", po::value<int64_t>()->default_value(8), "rows of a micro-batch")              //
      ("accumulation", po::value<int64_t>(),
       "micro-batches of an update; default: 4 for --stage pretrain, 2 for finetune, else 1")  //
      ("loss-weighting", po::value<std::string>()->default_value("micro-batches"),
       "mean of the means of micro-batches, or of all tokens: micro-batches, tokens")                    //
      ("learning-rate", po::value<double>(), "peak; default: 1e-3 for pretrain, else 2e-5")              //
      ("min-learning-rate", po::value<double>()->default_value(0.0, "0"), "where the schedule ends")     //
      ("schedule", po::value<std::string>()->default_value("cosine"), "cosine, linear, constant")        //
      ("warmup-ratio", po::value<double>()->default_value(0.03, "0.03"), "share of the updates")         //
      ("weight-decay", po::value<double>()->default_value(0.0, "0"), "of matrices")                      //
      ("beta1", po::value<double>()->default_value(0.9, "0.9"), "of AdamW")                              //
      ("beta2", po::value<double>()->default_value(0.999, "0.999"), "of AdamW")                          //
      ("epsilon", po::value<double>()->default_value(1e-8, "1e-8"), "of AdamW")                          //
      ("clip-norm", po::value<double>()->default_value(1.0, "1"), "of all gradients together; 0: none")  //
      ("train", po::value<std::string>(),
       "list of parameters, * matches anything; default: the projector for pretrain, else all")            //
      ("freeze", po::value<std::string>()->default_value(""), "list of parameters that stay as they are")  //
      ("group-learning-rates", po::value<std::string>(),
       "list of PATTERN=RATE in place of --learning-rate; default: a tenth of it for the vision tower")  //
      ("sampler", po::value<std::string>()->default_value("random"),
       "random, sequential, group_by_modality_length")  //
      ("packing", po::bool_switch(),
       "rows of text of a micro-batch one after the other in place of padding; they do not see each other")  //
      ("checkpoint-layers", po::bool_switch(), "compute each layer again in the backward pass: less memory");
  po::options_description output("Output", 110, 55);
  output.add_options()                                                                             //
      ("output", po::value<std::string>(), "folder: curves.h5, checkpoints/step-N, bad_rows.log")  //
      ("save-every", po::value<int64_t>()->default_value(500),
       "updates between checkpoints; 0: at the end")                                                     //
      ("keep-last", po::value<int64_t>()->default_value(0), "checkpoints that are kept; 0: all")         //
      ("log-every", po::value<int64_t>()->default_value(10), "updates between progress lines; 0: none")  //
      ("resume", po::value<std::string>(),
       "auto (the newest of --output, if there is one), or its folder")                   //
      ("allow-change", po::bool_switch(), "resume although settings or data are others")  //
      ("dry-run", po::bool_switch(), "check the inputs and print the plan")               //
      ("tflops", po::value<double>()->default_value(0.0, "0"),
       "with --dry-run: TFLOP/s that a process sustains, for the time that the plan takes");
  return {input, loop, output, process_options()};
}

Arguments with_stage_defaults(const Arguments& given) {
  Arguments all = given;
  const std::filesystem::path model = required_text(given, "model"), data = required_text(given, "data");
  const ModelKind kind = model_kind(model);
  if (kind == ModelKind::kVisionTower) {
    throw UsageError("--model {}: expected a language model, found a vision tower alone", model.string());
  }
  const std::string stage = given.has("stage") ? given.get<std::string>("stage") : "";
  if (!stage.empty() && stage != "pretrain" && stage != "finetune") {
    throw UsageError("--stage: expected pretrain or finetune, found \"{}\"", stage);
  }
  const bool sees = kind == ModelKind::kLlava || given.has("vision-tower"), pretrain = stage == "pretrain";
  if (pretrain && !sees) {
    throw UsageError("--stage pretrain: expected a LLaVA-NeXT model, whose projector is trained, found {}",
                     model.string());
  }
  const bool qwen = read_decoder_config(model).model_type == "qwen2";
  const auto set = [&](const char* flag, const auto& value) {
    if (all.values.count(flag) > 0) return;
    static_cast<std::map<std::string, po::variable_value>&>(all.values)[flag] =
        po::variable_value(boost::any(value), /*defaulted=*/true);
  };
  set("template", std::string(pretrain ? "plain" : qwen ? "qwen" : "vicuna_v1"));
  set("max-length", !holds_conversations(data) ? int64_t{2048} : qwen ? int64_t{32768} : int64_t{4096});
  set("accumulation", pretrain ? int64_t{4} : stage == "finetune" ? int64_t{2} : int64_t{1});
  set("learning-rate", pretrain ? 1e-3 : 2e-5);
  set("train", std::string(pretrain ? "model.multi_modal_projector.*" : "*"));
  const bool slow_tower = sees && !pretrain;
  set("group-learning-rates",
      slow_tower ? fmt::format("model.vision_tower.*={:.9g}", all.get<double>("learning-rate") / 10) : "");
  set("image-folder", data.parent_path().string());
  return all;
}

TrainFlags read_train_flags(const Arguments& arguments, const CommonSettings& common) {
  TrainFlags flags;
  flags.model = required_text(arguments, "model");
  flags.data = required_text(arguments, "data");
  const bool llava = model_kind(flags.model) == ModelKind::kLlava;
  if (arguments.has("vision-tower")) flags.vision_tower = arguments.get<std::string>("vision-tower");
  if (llava && !flags.vision_tower.empty()) {
    throw UsageError("--vision-tower: {} has a vision tower already", flags.model.string());
  }
  flags.sees = llava || !flags.vision_tower.empty();
  if (arguments.has("token-cache")) flags.token_cache = arguments.get<std::string>("token-cache");
  flags.image_folder = arguments.get<std::string>("image-folder");
  if (const auto move = arguments.get<std::string>("image-move"); move == "always" || move == "single") {
    flags.image_move = move == "always" ? ImageMove::kAlways : ImageMove::kSingle;
  } else if (move != "auto") {
    throw UsageError("--image-move: expected always, single or auto, found \"{}\"", move);
  }
  if (arguments.has("pinpoints")) {
    flags.pinpoints = parse_pinpoint_rule(arguments.get<std::string>("pinpoints"));
  }
  if (arguments.has("alpha")) flags.alpha = parse_alpha_rule(arguments.get<std::string>("alpha"));
  flags.exif = parse_exif_rule(arguments.get<std::string>("exif"));
  flags.workers = static_cast<int>(std::min<int64_t>(at_least(arguments, "workers", 0), kMostWorkers));
  flags.rows.form = parse_corpus_form(arguments.get<std::string>("data-form"));
  flags.rows.conversation.chat = parse_chat_template(arguments.get<std::string>("template"));
  flags.rows.conversation.rule = parse_label_rule(arguments.get<std::string>("labels"));
  flags.rows.conversation.max_length = at_least(arguments, "max-length", 2);
  flags.max_bad_rows = at_least(arguments, "max-bad-rows", 0);
  flags.sampler.kind = parse_sampler(arguments.get<std::string>("sampler"));
  flags.sampler.micro_batch = at_least(arguments, "batch-size", 1);
  flags.sampler.accumulation = at_least(arguments, "accumulation", 1);
  flags.sampler.seed = common.seed;
  flags.trained = words(arguments.get<std::string>("train"));
  flags.frozen = words(arguments.get<std::string>("freeze"));
  flags.groups = read_groups(arguments);
  flags.adam.beta1 = arguments.get<double>("beta1");
  flags.adam.beta2 = arguments.get<double>("beta2");
  flags.adam.epsilon = arguments.get<double>("epsilon");
  flags.trainer.weighting = parse_loss_weighting(arguments.get<std::string>("loss-weighting"));
  flags.trainer.clip_norm = arguments.get<double>("clip-norm");
  flags.trainer.schedule.kind = parse_schedule(arguments.get<std::string>("schedule"));
  if (arguments.has("scheme")) flags.loss.scheme = Scheme(arguments.get<std::string>("scheme"));
  flags.loss.packing = arguments.flag("packing");
  flags.loss.compute = common.dtype;
  flags.loss.checkpoint_layers = arguments.flag("checkpoint-layers");
  flags.max_steps = at_least(arguments, "max-steps", 0);
  flags.epochs = at_least(arguments, "epochs", 1);
  flags.warmup_ratio = arguments.get<double>("warmup-ratio");
  at_least(arguments, "save-every", 0);
  at_least(arguments, "keep-last", 0);
  at_least(arguments, "log-every", 0);
  return flags;
}

Json train_config(const Arguments& arguments, const CommonSettings& common, int64_t total_steps) {
  Json config = Json::object();
  config["total-steps"] = total_steps;
  config["dtype"] = dtype_name(common.dtype);
  for (const auto& group : train_options()) {
    for (const auto& option : group.options()) {
      const std::string& flag = option->long_name();
      if (is_housekeeping(flag) || arguments.values.count(flag) == 0) continue;
      config[flag] = value_of(arguments.values[flag].value());
    }
  }
  config["seed"] = arguments.get<uint64_t>("seed");
  return config;
}

}  // namespace ropescope::app
