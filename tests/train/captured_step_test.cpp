#include "train/captured_step.h"

#include "devices.h"
#include "kernels/kernels.h"
#include "train/recipes.h"

namespace mara::train {
namespace {

class CapturedStepTest : public OnDevice {
 protected:
  bool captures() const { return device().type == DeviceType::cuda; }
  std::vector<std::string> recipes() const {
    std::vector<std::string> names;
    for (const std::filesystem::path& file : recipe_files("tests")) {
      if (Recipe::load(file.string()).precision.compute != "f64") names.push_back(file.stem());
    }
    return names;
  }
};

struct Trace {
  std::vector<double> metrics, weights;
  bool replays = false;
  bool operator==(const Trace& other) const { return metrics == other.metrics && weights == other.weights; }
};

Trace train(const Recipe& recipe, Device device, int64_t steps = 5) {
  Trainer trainer(recipe, device);
  Trace run;
  for (int64_t step = 0; step < steps; ++step) {
    const StepMetrics m = trainer.step(step);
    run.metrics.insert(run.metrics.end(), {m.loss, m.grad_norm});
    EXPECT_EQ(trainer.replays(), step > 1 && device.type == DeviceType::cuda && recipe.train.capture == "step");
  }
  run.weights = trainer.arena().master().to_host();
  run.replays = trainer.replays();
  return run;
}

TEST_P(CapturedStepTest, RunsTwiceThenCapturesThenReplays) {
  Pool pool(device());
  const Tensor counter = Tensor::empty({1}, Dtype::f32, device());
  const Tensor one = Tensor::from(std::vector<double>{1}, {1}, Dtype::f32, device());
  auto [k, stream] = kernels::on(device());
  k.fill(stream, {.y = counter.view(), .value = 0});
  int calls = 0;
  const auto body = [&, &k = k, &stream = stream] {
    const PoolScope scope(pool);
    ++calls;
    k.copy(stream, {.x = one.view(), .y = counter.view(), .accumulate = true});
  };
  CapturedStep captured(pool, true), eager(pool, false);
  for (int run = 1; run <= 4; ++run) {
    captured.run(body);
    EXPECT_EQ(counter.item(), run);
    EXPECT_EQ(captured.replayed(), captures() && run >= 3);
  }
  EXPECT_EQ(calls, captures() ? 3 : 4);
  eager.run(body);
  eager.run(body);
  EXPECT_FALSE(eager.replayed());
  EXPECT_EQ(counter.item(), 6);
}

// A capture can take no memory from the system, so it waits for a run that needed none.
TEST_P(CapturedStepTest, WaitsUntilThePoolHasSettled) {
  Pool pool(device());
  CapturedStep captured(pool, true);
  for (int run = 1; run <= 6; ++run) {
    const int64_t size = std::min(run, 4) * 1000;  // grows up to the fourth run
    captured.run([&] { Storage(pool, size); });
    EXPECT_EQ(captured.replayed(), captures() && run >= 6);
  }
  // Nor is one made after the pool has lost between two runs what the last one used.
  Pool losing(device());
  CapturedStep late(losing, true);
  for (int run = 1; run <= 4; ++run) {
    if (run == 3) {
      Storage(losing, 100000);
    }
    late.run([&] { Storage(losing, 1000); });
    EXPECT_EQ(late.replayed(), captures() && run >= 4);
  }
}

TEST_P(CapturedStepTest, EqualsEagerBitForBit) {
  for (const std::string& name : recipes()) {
    // The learning rate changes in every step, clipping sets in somewhere.
    const std::vector<std::string> changing{"schedule.kind=cosine", "schedule.warmup=2", "optim.clip=0.5"};
    const auto with = [&](const std::string& set) {
      std::vector<std::string> all = changing;
      all.push_back(set);
      return test_recipe(name, all);
    };
    const Trace captured = train(with("train.capture=step"), device()),
                eager = train(with("train.capture=off"), device());
    EXPECT_EQ(captured, eager) << name;
    EXPECT_EQ(captured.replays, captures()) << name;
    EXPECT_NE(train(with("run.seed=77"), device()), eager) << name;  // control
  }
}

TEST_P(CapturedStepTest, DoublePrecisionIsForCpus) {
  const Recipe recipe = test_recipe("hyena", {"precision.compute=f64"});
  if (!captures()) return recipe.require_device(device());
  try {
    Trainer(recipe, device());
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("precision.compute: f64 runs on a CPU only")) << error.what();
  }
}

TEST_P(CapturedStepTest, TwentyRunsAreOne) {
  const Recipe recipe = test_recipe("hyena");
  const Trace first = train(recipe, device());
  for (int repeat = 1; repeat < 20; ++repeat) EXPECT_EQ(train(recipe, device()), first);
}

TEST_P(CapturedStepTest, AgreesWithTheCpu) {
  for (const std::string& name : recipes()) {
    const Recipe recipe = test_recipe(name);
    if (recipe.precision.compute == "bf16") continue;  // its own rounding, amplified by training
    const Trace here = train(recipe, device()), cpu = train(recipe, kCpu);
    EXPECT_LT(relative_error(here.metrics, cpu.metrics), 1e-3) << name;
    EXPECT_LT(relative_error(here.weights, cpu.weights), 1e-3) << name;
  }
}

TEST_P(CapturedStepTest, CheckpointsMoveBetweenDevices) {
  const Recipe recipe = test_recipe("hyena");
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "c.h5";
  const auto losses = [&](Trainer& trainer, int64_t first, int64_t end) {
    std::vector<double> out;
    for (int64_t step = first; step < end; ++step) out.push_back(trainer.step(step).loss);
    return out;
  };
  const auto move = [&](Device from, Device to) {
    Trainer before(recipe, from);
    losses(before, 0, 3);
    const checkpoint::StateFunction state = [&](StateVisitor& visitor) { before.state(visitor); };
    checkpoint::Snapshot snapshot(state);
    snapshot.capture(state);
    std::filesystem::remove(path);
    snapshot.write(path, config::to_yaml(recipe), std::nullopt);
    Trainer after(recipe, to);
    after.resume(checkpoint::Checkpoint(path));
    return std::pair{losses(before, 3, 8), losses(after, 3, 8)};
  };
  for (const auto& [from, to] : {std::pair{kCpu, device()}, std::pair{device(), kCpu}}) {
    const auto [there, here] = move(from, to);
    EXPECT_LT(relative_error(here, there), 1e-3);
  }
  const auto [same, again] = move(device(), device());
  EXPECT_EQ(same, again);  // on one device to the bit, captured or not at that step
}

MARA_ON_EVERY_DEVICE(CapturedStepTest);

}  // namespace
}  // namespace mara::train
