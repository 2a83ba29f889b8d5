namespace Vmsweep.Appliance.Reports;

/// <summary>What became of running rules over known good files.</summary>
/// <param name="Files">Files that were matched.</param>
/// <param name="SampleFiles">Files that each rule was measured on, alone.</param>
/// <param name="BaselineMilliseconds">What scanning the sample costs with a rule that looks for nothing.</param>
/// <param name="Measured">How many rules were measured.</param>
/// <param name="Rules">The slowest first.</param>
/// <param name="RuleFaults">Rules and list lines that were left out.</param>
internal sealed record RuleTrial(
    long Files, long Bytes, int SampleFiles, long SampleBytes, double BaselineMilliseconds, int Measured, IReadOnlyList<RuleCostReport> Rules, IReadOnlyList<RuleFaultReport> RuleFaults);

/// <param name="Milliseconds">For the whole sample.</param>
/// <param name="Fault">Why it was not measured on all of it; empty when it was.</param>
internal sealed record RuleCostReport(string Rule, string Namespace, string File, int Line, double Milliseconds, string Fault);
