// The package is taken as it is published: nothing is translated.
module.exports = {
  testMatch: ["**/*.test.cjs"], transform: {}, testTimeout: 20_000, watchman: false,
  globalSetup: "./setup.cjs", globalTeardown: "./teardown.cjs",
};
