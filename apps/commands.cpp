#include "command.h"

namespace ropescope::app {

// One line a command: declared here, defined in the file of its name.
extern const Command kAttention;
extern const Command kAudit;
extern const Command kCompare;
extern const Command kCompletion;
extern const Command kDecay;
extern const Command kDump;
extern const Command kEvaluate;
extern const Command kGenerate;
extern const Command kInspect;
extern const Command kLocality;
extern const Command kModix;
extern const Command kOrder;
extern const Command kPlot;
extern const Command kPositions;
extern const Command kPreprocess;
extern const Command kPrior;
extern const Command kReport;
extern const Command kSample;
extern const Command kScore;
extern const Command kSimulate;
extern const Command kTokenize;
extern const Command kTrace;
extern const Command kTrain;
extern const Command kExport;

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {
      kInspect,  kTokenize,  kTrace,    kAudit,    kSample,    kDecay,      kLocality, kPrior,
      kModix,    kAttention, kGenerate, kSimulate, kPositions, kPreprocess, kTrain,    kExport,
      kEvaluate, kScore,     kOrder,    kReport,   kCompare,   kDump,       kPlot,     kCompletion,
  };
  return all;
}

}  // namespace ropescope::app
