#include "measure/shared_sampling.h"

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/weights/safetensors_writer.h"
#include "ropescope/weights/stored_tensor.h"

namespace ropescope::app {

namespace {

/// A part that appears under its name when it is whole.
struct GrowingPart {
  GrowingPart(const std::filesystem::path& path, int64_t most)
      : file(path, /*force=*/true), tensors(file.temporary_path(), most) {}

  AtomicFile file;
  SafetensorsAppender tensors;
};

TakenTensors read_taken(const std::filesystem::path& path) {
  const auto part = open_checkpoint(path);
  TakenTensors taken;
  for (const TensorInfo& info : part->tensors()) {
    const StoredType* type = find_stored_type(info.dtype);
    if (type == nullptr || !type->type) throw InputError("{}: this is no part of a sampling", path.string());
    taken[info.name] = part->take(info.name, *type->type);
  }
  return taken;
}

/// The part of the process that leads: parts into sums.
class PartSums {
 public:
  PartSums(SampleRun& run, const SharedSampling& shared, size_t done)
      : run_(run), shared_(shared), next_(done), kept_(done) {}

  /// Adds what is there in the order of the passes.
  void add() {
    for (; next_ < run_.passes() && shared_.parts.has(number()); ++next_) {
      const auto path = shared_.parts.file(number());
      try {
        run_.add(next_, read_taken(path));
      } catch (const InputError& error) {
        throw InputError("{}: {}. Try: the same command without --resume", path.string(), error.what());
      }
    }
    if (!shared_.state.save(run_, next_)) return;
    for (; kept_ < next_; ++kept_) shared_.parts.remove(static_cast<int64_t>(kept_));
  }
  /// After all processes have done theirs.
  void finish() {
    add();
    if (next_ == run_.passes()) return;
    throw EnvironmentError("{}: not there. Try: an --output that all machines see",
                           shared_.parts.file(number()).string());
  }

 private:
  int64_t number() const { return static_cast<int64_t>(next_); }

  SampleRun& run_;
  const SharedSampling& shared_;
  size_t next_, kept_;  // passes that are added; that the saved state holds
};

/// Of all waves as they are cut at first.
int64_t layers_of_all(const SampleRun& run) {
  int64_t layers = 0;
  for (size_t wave = 0; wave < run.waves(); ++wave) layers += run.steps(wave);
  return layers;
}

/// Makes passes and writes their parts.
void run_passes(SampleRun& run, const std::vector<size_t>& passes, const WorkParts& parts,
                const std::function<void()>& on_step) {
  run.choose(passes);
  for (size_t wave = 0; wave < run.waves(); ++wave) {
    std::map<size_t, std::unique_ptr<GrowingPart>> growing;
    for (const size_t pass : run.passes_of(wave)) {
      growing[pass] =
          std::make_unique<GrowingPart>(parts.file(static_cast<int64_t>(pass)), run.most_tensors(pass));
    }
    run.run_wave(wave, on_step, [&](size_t pass, const std::string& name, const at::Tensor& tensor) {
      growing.at(pass)->tensors.add(name, tensor);
    });
    for (auto& [pass, part] : growing) {
      part->tensors.finish();
      part->file.commit();
    }
  }
}

}  // namespace

void sample_in_parts(SampleRun& run, const SharedSampling& shared, int64_t tokens) {
  DealtWork& work = shared.work;
  const auto passes = static_cast<int64_t>(run.passes());
  std::vector<int64_t> open;
  size_t done = 0;
  if (work.leads()) {
    if (shared.resume) {
      done = shared.state.restore(run);
    } else {
      shared.state.mention();
    }
    shared.parts.begin(shared.state.inputs(), shared.resume);
    open = shared.parts.open(passes);
    open.erase(open.begin(), std::lower_bound(open.begin(), open.end(), static_cast<int64_t>(done)));
    if (shared.resume) shared.state.say(run.passes() - open.size(), run.passes());
  }
  work.deal(open, shared.state.inputs());
  Progress progress("sampling", "layers", layers_of_all(run) * work.items() / work.world() / passes);
  PartSums sums(run, shared, done);
  while (true) {
    std::vector<size_t> mine;
    for (int64_t taken = 0; taken < tokens; taken += run.tokens_of_pass(mine.back())) {
      const auto pass = work.next();
      if (!pass) break;
      mine.push_back(static_cast<size_t>(*pass));
    }
    if (mine.empty()) break;
    run_passes(run, mine, shared.parts, [&] { progress.advance(); });
    if (work.leads()) sums.add();
  }
  work.finish();
  if (work.leads()) sums.finish();
}

}  // namespace ropescope::app
