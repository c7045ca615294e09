#pragma once
// A mapping's `kind`, each kind with options of its own: what a recipe chooses a mixer, a model or a task by.
//
//   constexpr config::Kind<MixerOptions> kMixers[] = {
//       config::kind<MixerOptions, HyenaOptions>("hyena"),
//   };

#include "config/fields.h"

namespace mara::config {

/// A line of a table of kinds; all their options are derived from `Options`.
template <class Options>
struct Kind {
  const char* name;
  /// This kind's options: a copy of `from` where it holds some, otherwise the defaults.
  std::shared_ptr<Options> (*options)(const Options* from);
};

template <class Options, class Own>
constexpr Kind<Options> kind(const char* name) {
  return {name, [](const Options* from) -> std::shared_ptr<Options> {
            const Own* own = dynamic_cast<const Own*>(from);
            return own != nullptr ? std::make_shared<Own>(*own) : std::make_shared<Own>();
          }};
}

/// Binds the key `kind` and beside it the keys that Options::fields(f, setup...) lists. `options` is replaced rather
/// than written to: a copy of the config may hold the same ones.
template <class Options, size_t N, class... Setup>
void bind_kind(Fields& f, const Kind<Options> (&kinds)[N], std::string& kind, std::shared_ptr<Options>& options,
               const char* help, const Setup&... setup) {
  std::vector<std::string> names;
  for (const Kind<Options>& candidate : kinds) names.push_back(candidate.name);
  f.kind("kind", kind, names, help, [&](const std::string& name) {
    for (const Kind<Options>& candidate : kinds) {
      if (name == candidate.name) options = candidate.options(options.get());
    }
    options->fields(f, setup...);
  });
}

}  // namespace mara::config
