#include "train/train_subject.h"

#include <utility>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/llava_config.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/train/adapter_file.h"
#include "ropescope/train/conversation_rows.h"
#include "ropescope/train/fresh_vlm.h"
#include "ropescope/train/taught_template.h"
#include "ropescope/train/text_rows.h"
#include "ropescope/train/token_cache.h"
#include "ropescope/train/vlm_model.h"
#include "ropescope/train/vlm_slots.h"

#include "inputs/loaded_model.h"

namespace ropescope::app::train {

namespace {

void require_trainable(const DecoderConfig& config, const std::filesystem::path& model) {
  if (!is_trainable(config)) {
    throw UsageError(
        "--model {}: {} is not trained here: only decoders with softmax attention in all layers and without experts are. "
        "Try: trace, sample or generate, which run it",
        model.string(), config.model_type);
  }
}

}  // namespace

TrainSubject::TrainSubject(const TrainSettings& settings, at::Device device, std::filesystem::path log)
    : bad_(settings.max_bad_rows, std::move(log)), tokenizer_(load_tokenizer(settings.model)) {
  LoadOptions load;
  load.device = device;
  if (settings.sees) {
    load_vlm(settings, load);
  } else {
    load_text(settings, load);
  }
}

void TrainSubject::load_text(const TrainSettings& settings, const LoadOptions& load) {
  const DecoderConfig config = read_decoder_config(settings.model);
  require_trainable(config, settings.model);
  std::vector<TextRow> rows = read_text_rows(settings.data, *tokenizer_, settings.rows, bad_);
  decoder_ = load_decoder(open_checkpoint(settings.model), config, load);
  files_ = read_model_files(settings.model);
  auto model = std::make_unique<TrainedDecoder>(*decoder_, std::move(rows), tokenizer_->eos_id().value_or(0),
                                                prepare(settings, *decoder_, *decoder_, "model."));
  reading_ = model.get();
  model_ = std::move(model);
}

template <typename Model>
ModelLossOptions TrainSubject::prepare(const TrainSettings& settings, Model& model, const Decoder& decoder,
                                       const std::string& prefix) {
  ModelLossOptions loss = settings.loss;
  const bool adapters_alone = settings.lora && settings.trained.empty();
  if (!adapters_alone) {
    parameters_ = make_trainable(model, settings.trained, settings.frozen, settings.copies_weights);
  }
  if (!settings.lora) return loss;
  adapters_ = std::make_shared<Adapters>(decoder, *settings.lora, prefix, settings.sampler.seed);
  if (settings.adapter) load_adapter(*settings.adapter, *adapters_);
  std::vector<std::string> whole;
  for (const Parameter& parameter : parameters_) whole.push_back(parameter.name);
  for (Parameter& parameter : adapters_->parameters()) parameters_.push_back(std::move(parameter));
  // A step is a folder of PEFT's: no model of its own.
  std::erase_if(files_, [](const ModelFile& file) {
    return file.name == "config.json" || file.name == "generation_config.json" ||
           file.name.find('/') != std::string::npos;
  });
  files_.push_back({kAdapterConfig,
                    adapter_config(*settings.lora, settings.model.string(), prefix, whole).dump(2) + "\n"});
  loss.adapters = adapters_;
  return loss;
}

std::vector<int64_t> TrainSubject::text_of(int64_t row) {
  return reading_ != nullptr ? reading_->row(row).text.ids : seeing_->ready_row(row).text.ids;
}

void TrainSubject::load_vlm(const TrainSettings& settings, const LoadOptions& load) {
  const bool fresh = !settings.vision_tower.empty();
  std::shared_ptr<const PictureReader> reader;
  AlphaRule alpha = AlphaRule::kWhite;
  if (fresh) {
    FreshVlm made = make_fresh_vlm(settings.model, settings.vision_tower, settings.sampler.seed, load);
    vlm_ = std::move(made.vlm);
    files_ = std::move(made.files);
    if (made.anyres) {
      if (settings.pinpoints) made.anyres->anyres->rule = *settings.pinpoints;
      alpha = AlphaRule::kDrop;  // as the original form, which it has
      reader = std::make_shared<PictureReader>(std::move(*made.anyres));
    } else {
      reader = std::make_shared<PictureReader>(MediaProcessor(std::move(*made.native)));
    }
  } else {
    if (is_llava_next(settings.model) && read_llava_config(settings.model).original) alpha = AlphaRule::kDrop;
    reader = std::make_shared<PictureReader>(settings.model, settings.pinpoints);
    files_ = read_model_files(settings.model);
  }
  ConversationRowOptions options;
  options.conversation = settings.rows.conversation;
  if (reader->expands_text()) options.conversation.pictures = reader;
  options.move = settings.image_move;
  options.images = true;
  options.image_folder = settings.image_folder;
  if (settings.own_template) {
    auto own = read_chat_template(settings.model, *tokenizer_, /*sees=*/true);
    if (!own) {
      throw UsageError("--template own: {} has no chat template of its own. Try: qwen or vicuna_v1",
                       settings.model.string());
    }
    options.conversation.own =
        std::make_shared<TaughtTemplate>(std::move(*own), /*sees=*/true, reader->image_mark());
  }
  std::vector<ConversationRow> rows;
  if (holds_conversations(settings.data)) {
    rows = settings.token_cache.empty() ? read_conversation_rows(settings.data, *tokenizer_, options, bad_)
                                        : read_cached_rows(settings.token_cache, settings.data,
                                                           settings.model, *tokenizer_, options, bad_);
  } else {
    for (TextRow& row : read_text_rows(settings.data, *tokenizer_, settings.rows, bad_)) {
      rows.push_back({std::move(row.name), std::move(row.text), {}});
    }
  }
  TrainedVlm::Settings seeing;
  if (!fresh) {
    const DecoderConfig decoder = read_decoder_config(settings.model);
    require_trainable(decoder, settings.model);
    const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(settings.model);
    vlm_ = ropescope::load_vlm(checkpoint, read_vlm_config(settings.model), decoder, settings.model, load);
    // (A step of adapters alone has nothing of the tower.)
    if (!settings.lora) seeing.unused_weights = unused_tower_weights(*checkpoint, *vlm_);
  } else if (!reader->expands_text()) {
    seeing.unused_weights = unused_tower_weights(*open_checkpoint(settings.vision_tower), *vlm_);
  }
  DecodeOptions decode;
  decode.alpha = settings.alpha.value_or(alpha);
  decode.exif = settings.exif;
  loader_ = std::make_unique<ImageLoader>(*reader, decode, settings.workers);
  seeing.image_folder = settings.image_folder;
  seeing.max_length = settings.rows.conversation.max_length;
  const bool text_model = tower_prefix(*vlm_->config.family) == "model.vision_model.";  // Idefics 3's names
  seeing.loss =
      prepare(settings, *vlm_, vlm_->decoder, text_model ? "model.text_model." : "model.language_model.");
  auto model =
      std::make_unique<TrainedVlm>(*vlm_, std::move(rows), *tokenizer_, *loader_, bad_, std::move(seeing));
  seeing_ = model.get();
  model_ = std::move(model);
}

}  // namespace ropescope::app::train
