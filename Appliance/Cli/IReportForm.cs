using Vmsweep.Appliance.Reports;

namespace Vmsweep.Appliance.Cli;

/// <summary>A form of a scan's report that takes each target as soon as it is done: what was found in one need not be held until all are.</summary>
internal interface IReportForm
{
    void Add(TargetReport target);

    /// <param name="report">All of it but the targets.</param>
    void Finish(Report report);
}
